"""Building a frozen transformers model and its tokenizer, or saying why that cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtlora_core.errors import CompositionError

from .library import transformers
from .location import folder_of
from .options import TransformersOptions
from .quiet import quiet, quiet_bars


def load_config(options: TransformersOptions) -> Any:
    """Return the model's configuration, as its files say it.

    Raises:
        CompositionError: its file is missing or damaged.
    """
    with _naming(options), quiet(), quiet_bars() if options.gguf_file else nullcontext():
        return transformers.AutoConfig.from_pretrained(_place(options), **_source(options))


def load_model(
    options: TransformersOptions, config: Any, *, meta: bool, language: bool = False
) -> nn.Module:
    """Return the frozen model, its dropout off, without a head or with that for language.

    Args:
        options: Name the model.
        config: Its configuration, which stays as it is.
        meta: Build it from its configuration alone, on the meta device.
        language: Build it with the head of a causal language model.

    Raises:
        CompositionError: files are missing, damaged or of another model.
    """
    with _naming(options), quiet(), quiet_bars() if options.gguf_file else nullcontext():
        config = _without_dropout(deepcopy(config))
        kind = transformers.AutoModelForCausalLM if language else transformers.AutoModel
        module = _unloaded(options, config, kind) if meta else _loaded(options, config, kind)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # where the family has a probability that its configuration does not say
    return module.requires_grad_(False)


def load_tokenizer(options: TransformersOptions) -> Any:
    """Return the model's tokenizer.

    Raises:
        CompositionError: its files are missing or damaged.
    """
    with _naming(options), quiet():
        return transformers.AutoTokenizer.from_pretrained(_place(options), **_source(options))


def load_processor(options: TransformersOptions) -> Any:
    """Return the model's image processor, the one whose numbers are the same in every release.

    Raises:
        CompositionError: its file is missing or damaged.
    """
    # The others resize by torchvision, which need not be installed and rounds differently.
    with _naming(options), quiet():
        return transformers.AutoImageProcessor.from_pretrained(
            _place(options), **_source(options), **_WITH_PILLOW
        )


_WITH_PILLOW: Mapping[str, Any] = (
    {"use_fast": False} if transformers.__version__ < "5" else {"backend": "pil"}
)


def save_quietly(part: Any, folder: Path) -> None:
    """Write a model, a tokenizer or an image processor as ``from_pretrained`` reads it."""
    with quiet():
        part.save_pretrained(folder)


def _unloaded(options: TransformersOptions, config: Any, kind: Any) -> nn.Module:
    with torch.device("meta"):
        module: nn.Module = kind.from_config(
            config,
            dtype=getattr(torch, options.dtype),
            trust_remote_code=options.trust_remote_code,
        )
    return module


def _loaded(options: TransformersOptions, config: Any, kind: Any) -> nn.Module:
    module: Any
    module, report = kind.from_pretrained(
        _place(options),
        **_source(options),
        **_quantized(options),
        config=config,
        dtype=getattr(torch, options.dtype),
        use_safetensors=True,  # the other format is unpickled, which runs code
        output_loading_info=True,
    )
    _check_complete(module, report)
    return module  # type: ignore[no-any-return]  # the library is untyped


def _check_complete(module: Any, report: Mapping[str, Any]) -> None:
    # transformers fills what a file lacks with random numbers. A pooler is read by no head of
    # ours, and files of models trained without one have none.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    unfit = sorted(str(key[0]) for key in report["mismatched_keys"])
    head = module.get_output_embeddings()
    if missing and head is not None and all(_is_of(head, module, name) for name in missing):
        raise ValueError(
            f"the file has no language-modelling head ({', '.join(missing)} is missing), which "
            "causal tasks need; take a model that was saved with it"
        )
    if missing or unfit:
        raise ValueError(
            f"weights missing: {len(missing)}, of another shape: {len(unfit)}, "
            f"among them {(missing + unfit)[0]}"
        )


def _is_of(part: nn.Module, whole: nn.Module, name: str) -> bool:
    """Whether a parameter of ``whole`` is one of its ``part``."""
    return any(parameter is whole.get_parameter(name) for parameter in part.parameters())


def _without_dropout(config: Any) -> Any:
    """Set every dropout of a configuration to 0: some act in functions, not in modules."""
    for name, value in config.to_dict().items():
        if "drop" in name and type(value) in (int, float):
            setattr(config, name, 0.0)
    config.use_cache = False  # features need no keys of earlier calls
    config.gradient_checkpointing = False  # old files say it; the recipe decides
    config.chunk_size_feed_forward = 0  # an adapter must see all tokens of a forward at once
    return config


def _place(options: TransformersOptions) -> str:
    folder = folder_of(options.model)
    if folder is None and Path(options.model).is_dir():
        # The library would take the current folder's, whatever the recipe meant.
        raise CompositionError(
            f"model {options.model!r} is one of the hub, and the current folder has a folder of "
            f"that name: write its path, {Path(options.model).absolute()}, if it is meant, or run "
            "elsewhere"
        )
    return options.model if folder is None else str(folder)


def _source(options: TransformersOptions) -> dict[str, Any]:
    """Return what every call of the library is told of where the model comes from."""
    said = {"revision": options.revision, "gguf_file": options.gguf_file}
    given = {name: value for name, value in said.items() if value is not None}
    return {"trust_remote_code": options.trust_remote_code, **given}


def _quantized(options: TransformersOptions) -> dict[str, Any]:
    """Return what ``from_pretrained`` is told of how weights are kept."""
    if options.quantize is None:
        return {}
    how: dict[str, Any] = {"load_in_8bit": True}
    if options.quantize == "4bit":
        dtype = getattr(torch, options.dtype)
        how = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": dtype,
        }
    return {"quantization_config": transformers.BitsAndBytesConfig(**how)}


@contextmanager
def _naming(options: TransformersOptions) -> Iterator[None]:
    """Turn any failure inside into one that names where the model was to come from."""
    try:
        yield
    except CompositionError:
        raise
    except Exception as error:  # files of strangers fail in every way there is
        place = _place(options)
        origin = "" if place == options.model else f" from {place}"
        raise CompositionError(
            f"model {options.model!r} cannot be loaded{origin}: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
