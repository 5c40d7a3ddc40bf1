"""What every backbone promises: the model that it describes, and features of one text alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..component import Component, load
from ..context import Contexts
from ..inputs import Input, Text
from ..interfaces import Backbone
from ..options import BackboneOptions
from ..sites import BackboneShape, Projection
from .samples import assert_close, device, options_of

TEXTS: Sequence[Text] = (
    "A short text.",
    "A text that is rather longer than the first of these texts is.",
    ("The first of a pair.", "Its second."),
)

Make = Callable[..., Backbone]


def check_backbone(
    component: Component,
    options: Mapping[str, Any] | None = None,
    inputs: Sequence[Input] = TEXTS,
) -> None:
    """Assert that a backbone keeps its contract.

    Its options describe the model that it builds, without weights too; an input's features
    depend neither on padding nor on other inputs, nor on train mode; encodings know their
    length and, of texts, what was cut off; activation checkpointing changes no gradient.

    Args:
        component: The backbone's description.
        options: Its options, as a recipe writes them.
        inputs: What it encodes, two or more of different lengths; pictures for one of pictures.
    """
    values = options_of(component, options)
    make = partial(load(component.build), values)
    backbone: Backbone = make().to(device())
    _check_shape(backbone, values)
    _check_meta(make, backbone)
    _check_encodings(backbone, inputs)
    if values.shape().reads == "text":
        _check_truncation(backbone, inputs)
    _check_features(backbone, inputs)
    _check_checkpointing(make, values.shape(), inputs)


def _check_shape(backbone: Backbone, options: BackboneOptions) -> None:
    shape = options.shape()
    assert type(options).shape_of(backbone.module) == shape, "shape_of the model is not its shape"
    for layer in shape.layers:
        blocks = (layer.attention, layer.ffn)
        for block in blocks:
            _submodule(backbone, block.reads)
            _submodule(backbone, block.adds)
        for projection in layer.projections.values():
            _check_projection(_submodule(backbone, projection.module), projection)


def _submodule(backbone: Backbone, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(backbone.module.named_modules())
    assert name in modules, f"the shape names {name!r}; the model has no module {name!r}"
    return modules[name]


def _check_projection(module: nn.Module, projection: Projection) -> None:
    if not isinstance(module, nn.Linear):
        return
    where = f"projection {projection.module}"
    assert module.in_features == projection.d, (
        f"{where} reads {module.in_features}, described as {projection.d}"
    )
    end = (projection.start or 0) + projection.o
    assert end <= module.out_features, (
        f"{where} gives {module.out_features}, described as reaching {end}"
    )


def _check_meta(make: Make, backbone: Backbone) -> None:
    expected = {name: tensor.shape for name, tensor in backbone.named_parameters()}
    meta = dict(make(meta=True).named_parameters())
    assert {name: tensor.shape for name, tensor in meta.items()} == expected, (
        "built on the meta device, it has other parameters"
    )
    assert all(tensor.is_meta for tensor in meta.values()), "asked for meta, it has weights"


def _check_encodings(backbone: Backbone, inputs: Sequence[Input]) -> None:
    rows = backbone.encode(inputs)
    mask = backbone.collate(rows).mask
    assert mask.dtype == torch.bool, f"the mask is {mask.dtype}, not bool"
    assert mask.sum(1).tolist() == [row.length for row in rows], "the mask is not the lengths"


def _check_truncation(backbone: Backbone, inputs: Sequence[Input]) -> None:
    rows = backbone.encode(inputs)
    longest = max(row.length for row in rows)
    cut = backbone.encode(inputs, max_length=longest - 1)
    assert max(row.length for row in cut) == longest - 1, "max_length is not kept"
    for row, whole in zip(cut, rows, strict=True):
        assert row.truncated == (row.length < whole.length), "truncated is not what was cut"


def _features(backbone: Backbone, inputs: Sequence[Input]) -> Tensor:
    batch = backbone.collate(backbone.encode(inputs)).to(device())
    hidden = backbone(batch)
    assert isinstance(hidden, Tensor), f"forward returns no tensor, but {hidden!r}"
    expected = (*batch.mask.shape, backbone.width)
    assert tuple(hidden.shape) == expected, f"forward gives {[*hidden.shape]}, not {[*expected]}"
    return backbone.pool(hidden, batch.mask)


def _check_features(backbone: Backbone, inputs: Sequence[Input]) -> None:
    together = _features(backbone.eval(), inputs)
    expected = (len(inputs), backbone.width)
    assert tuple(together.shape) == expected, f"features are {[*together.shape]}, not {[*expected]}"
    assert together.isfinite().all(), "features are not finite"
    alone = torch.cat([_features(backbone, [each]) for each in inputs])
    assert_close(together, alone, "features depend on padding or on other inputs")
    assert_close(_features(backbone.train(), inputs), together, "features depend on train mode")


def _check_checkpointing(make: Make, shape: BackboneShape, inputs: Sequence[Input]) -> None:
    entered: list[str] = []

    def contexts() -> Contexts:
        entered.append("a layer")
        return nullcontext(), nullcontext()

    plain, checkpointed = make().to(device()), make().to(device())
    checkpointed.checkpoint(contexts)
    expected, actual = (_gradient(each, shape, inputs) for each in (plain, checkpointed))
    assert entered, "checkpoint was asked for, and no layer is checkpointed"
    assert_close(actual, expected, "activation checkpointing changes gradients")


def _gradient(backbone: Backbone, shape: BackboneShape, inputs: Sequence[Input]) -> Tensor:
    """Return the gradient of something in the first layer, as an adapter there would get it."""
    read = backbone.train().module.get_submodule(shape.layers[0].ffn.reads)
    parameter = next(read.parameters()).requires_grad_()
    _features(backbone, inputs).square().sum().backward()
    assert parameter.grad is not None, "no gradient reaches the first layer"
    return parameter.grad
