"""Holding a shape, made from a table and a configuration, against the model it is of."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from mtlora_core.errors import CompositionError
from mtlora_core.sites import BackboneShape, Layer, Projection


def verify(module: Any, shape: BackboneShape) -> None:
    """Check that every module a shape names exists and is as wide as it says.

    Raises:
        CompositionError: names every module that is not as described.
    """
    modules = dict(module.named_modules())
    problems = [problem for layer in shape.layers for problem in _problems(modules, layer)]
    if problems:
        raise CompositionError(
            f"{problem} (family {shape.family!r}, transformers {version('transformers')})"
            for problem in problems
        )


def _problems(modules: dict[str, Any], layer: Layer) -> Iterator[str]:
    blocks = (layer.attention, layer.ffn)
    names = {name for block in blocks for name in (block.reads, block.adds)}
    for name in sorted(names - modules.keys()):
        yield f"the model has no module {name!r}"
    for projection in layer.projections.values():
        if projection.module not in modules:
            yield f"the model has no module {projection.module!r}"
        elif problem := _width_problem(modules[projection.module], projection):
            yield problem


def _width_problem(module: Any, projection: Projection) -> str | None:
    # transformers' Conv1D, a linear map with a transposed weight, has names of its own; a module
    # with neither is left to the first forward.
    d = getattr(module, "in_features", getattr(module, "nx", projection.d))
    end = (projection.start or 0) + projection.o
    o = getattr(module, "out_features", getattr(module, "nf", end))
    fits = d == projection.d and (o == end if projection.start is None else o >= end)
    if fits:
        return None
    return (
        f"{projection.module!r} maps {d} to {o}, but its description reads {projection.d} and "
        f"writes up to {end}"
    )
