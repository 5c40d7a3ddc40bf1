"""What every backbone promises: the model that it describes, and features of one text alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..adapters import hidden_of
from ..component import Component, load
from ..context import Contexts
from ..inputs import Input, Text
from ..interfaces import Backbone, Inputs
from ..options import BackboneOptions
from ..sites import BackboneShape, Layer
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

    Its options describe the model that it builds, without weights too: a forward calls every
    module that they name, at ``[b, t, d]`` of the width that they say. An input's features are in
    float32, under autocast too, and depend neither on padding nor on other inputs, nor on train
    mode; encodings know their length and, of texts, what was cut off; activation checkpointing
    changes no gradient.

    Args:
        component: The backbone's description.
        options: Its options, as a recipe writes them.
        inputs: What it encodes, two or more of different lengths; pictures for one of pictures.
    """
    values = options_of(component, options)
    make = partial(load(component.build), values)
    backbone: Backbone = make().to(device())
    _check_shape(backbone, values)
    _check_sites(backbone, values.shape(), inputs)
    _check_meta(make, backbone)
    _check_encodings(backbone, inputs)
    if values.shape().reads == "text":
        _check_truncation(backbone, inputs)
    _check_features(backbone, inputs)
    _check_checkpointing(make, values.shape(), inputs)


def _check_shape(backbone: Backbone, options: BackboneOptions) -> None:
    shape = options.shape()
    assert type(options).shape_of(backbone.module) == shape, "shape_of the model is not its shape"
    modules = dict(backbone.module.named_modules())
    for name in {site.module for layer in shape.layers for site in _sites(layer, shape.width)}:
        assert name in modules, f"the shape names {name!r}; the model has no module {name!r}"


class _Site(NamedTuple):
    """An end of a module as a layer describes it."""

    module: str
    reads: bool
    """Whether its input is meant, or its output."""
    width: int
    fused: bool = False
    """Whether ``width`` is only how far the output reaches at least."""


def _sites(layer: Layer, width: int) -> Iterator[_Site]:
    for block in (layer.attention, layer.ffn):
        yield _Site(block.reads, True, width)
        yield _Site(block.adds, False, width)
    for each in layer.projections.values():
        yield _Site(each.module, True, each.d)
        end = (each.start or 0) + each.o
        yield _Site(each.module, False, end, fused=each.start is not None)


def _check_sites(backbone: Backbone, shape: BackboneShape, inputs: Sequence[Input]) -> None:
    """Run the model; an adapter works only where a module is called, and as wide as described."""
    batch = backbone.collate(backbone.encode(inputs)).to(device())
    sites = [site for layer in shape.layers for site in _sites(layer, shape.width)]
    calls = _calls(backbone, batch, {site.module for site in sites})
    for site in sites:
        assert site.module in calls, f"the model never calls {site.module!r}, which the shape names"
        tensor, does = calls[site.module].end(site.reads), "reads" if site.reads else "gives"
        width = max(site.width, tensor.shape[-1]) if site.fused else site.width
        found, expected = [*tensor.shape], [*batch.mask.shape, width]
        assert found == expected, f"{site.module!r} {does} {found}, described as {expected}"


class _Call(NamedTuple):
    args: Any
    kwargs: Any
    output: Any

    def end(self, reads: bool) -> Tensor:
        """Return what the module read, or what it gave, as an adapter sees it."""
        given: Tensor = self.output[0] if isinstance(self.output, tuple) else self.output
        return hidden_of(self.args, self.kwargs) if reads else given


def _calls(backbone: Backbone, batch: Inputs, names: Iterable[str]) -> dict[str, _Call]:
    """Return the calls of modules in one forward, by their names."""
    calls: dict[str, _Call] = {}

    def note(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls[name] = _Call(args, kwargs, output)

    with ExitStack() as hooks, torch.no_grad():
        for name in ("", *names):
            module = backbone.module.get_submodule(name)
            hooks.enter_context(module.register_forward_hook(partial(note, name), with_kwargs=True))
        backbone(batch)
    assert "" in calls, "forward calls parts of the module, and never the module as a whole"
    return calls


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
    with torch.autocast(device().type, torch.bfloat16):
        under_autocast = _features(backbone, inputs).dtype
    assert under_autocast == torch.float32, f"under autocast, features are {under_autocast}"
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
