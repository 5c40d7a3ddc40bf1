"""Building a frozen vision transformer of timm, or saying why that cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mtlora_core.errors import CompositionError

from .inspection import describe_module
from .library import timm
from .options import TimmOptions

UNUSED = ("head.", "head_dist.", "attn_pool.")
"""Starts of the names of tensors that a file may have and the model may not: heads of the
classes that it was trained on, and a pooling that a variant without it leaves out."""


def load_model(options: TimmOptions, *, meta: bool) -> nn.Module:
    """Return the frozen model without classes.

    Args:
        options: Name the model.
        meta: Build it without weights on the meta device.

    Raises:
        CompositionError: weights are missing, damaged or another model's, or the model is not as
            the table says.
    """
    with _naming(options):
        module = _unloaded(options)
        _verify(module, options)
        if not meta:
            tensors = {name: t.to(_dtype(options)) for name, t in _weights(options, module).items()}
            module.load_state_dict(tensors, assign=True)
    return module.requires_grad_(False)


def _dtype(options: TimmOptions) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, options.dtype)
    return dtype


def _unloaded(options: TimmOptions) -> nn.Module:
    arguments = options.architecture.arguments()
    if options.image_size is not None:
        arguments["img_size"] = options.image_size
    with torch.device("meta"):
        module: nn.Module = timm.create_model(options.model, num_classes=0, **arguments)
    return module.to(_dtype(options))


def _verify(module: nn.Module, options: TimmOptions) -> None:
    found, said = describe_module(module), options.shape()
    if found != said:
        raise CompositionError(
            f"timm {version('timm')} builds {len(found.layers)} layers {found.width} wide with "
            f"{'/'.join(found.layers[0].projections)}, and the table has {len(said.layers)} layers "
            f"{said.width} wide with {'/'.join(said.layers[0].projections)} and their widths"
        )


def _weights(options: TimmOptions, module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the model's file, fitted to its image and patch size by timm."""
    filtered = timm.models.vision_transformer.checkpoint_filter_fn
    # In float32, or positions that are resampled would be rounded to what the file keeps.
    read = {name: tensor.float() for name, tensor in load_file(_file(options)).items()}
    state: Mapping[str, Tensor] = filtered(read, module, adapt_layer_scale=True)
    own = module.state_dict()
    missing = own.keys() - state.keys()
    foreign = {name for name in state.keys() - own.keys() if not name.startswith(UNUSED)}
    unfit = {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    if odd := sorted(missing) + sorted(foreign) + sorted(unfit):
        raise ValueError(
            f"weights missing: {len(missing)}, of another shape: {len(unfit)}, of another model: "
            f"{len(foreign)}, among them {odd[0]}"
        )
    return {name: state[name] for name in own}


def _file(options: TimmOptions) -> Path:
    if options.checkpoint is not None:
        return options.checkpoint
    if not options.pretrained:
        raise ValueError(
            "it has no weights, and random ones make no backbone; write `pretrained: true` or "
            "`checkpoint: FILE.safetensors`"
        )
    config: Any = timm.models.get_pretrained_cfg(options.model)
    if config is None or not config.hf_hub_id:
        raise ValueError("the hub has no weights of this name; write a `checkpoint`")
    return _downloaded(config.hf_hub_id)


def _downloaded(repository: str) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # By name, since the other file of such a repository is unpickled, which runs code.
        return Path(hf_hub_download(repository, "model.safetensors"))
    except LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "it cannot be reached"
        raise ValueError(
            f"{repository} is not in the cache {constants.HF_HUB_CACHE}, nor to be had from "
            f"{constants.ENDPOINT} ({why}); download it where that works, or write a `checkpoint`"
        ) from error


@contextmanager
def _naming(options: TimmOptions) -> Iterator[None]:
    """Turn any failure inside into one that names the model and where its weights should be."""
    origin = f" from {options.checkpoint}" if options.checkpoint else ""
    try:
        yield
    except CompositionError as error:
        raise CompositionError([f"model {options.model!r}: {p}" for p in error.problems]) from error
    except Exception as error:  # files of strangers fail in every way there is
        raise CompositionError(
            f"model {options.model!r} cannot be loaded{origin}: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
