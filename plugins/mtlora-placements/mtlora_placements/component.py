"""Adapters beside single projections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mtlora_core.errors import CompositionError
from mtlora_core.options import Options
from mtlora_core.sites import BackboneShape, Projection, Site

from .selection import Layers, chosen_layers, distinct, layer_problems

Role = Literal["q", "k", "v", "o", "gate", "up", "down"]
"""What a projection does: of attention, queries, keys, values and output; of the FFN, the rest."""


class ComponentOptions(Options):
    """Options of the ``component`` placement.

    Query and value are LoRA's own choice (Hu et al., section 7.1, https://arxiv.org/abs/2106.09685)
    and the component level that mtLoRA compares with.
    """

    at: Annotated[tuple[Role, ...], Field(min_length=1), AfterValidator(distinct)] = ("q", "v")
    """Roles of the projections that get an adapter, of q k v o gate up down."""
    layers: Layers | None = None
    """Only these layers, counted from 0, or from -1 at the end; none written: all layers."""


def place(options: ComponentOptions, shape: BackboneShape) -> list[Site]:
    """Return a site for every chosen projection, layer by layer, roles as they were written.

    Raises:
        CompositionError: a role or a layer that this backbone has not; all of them at once.
    """
    layers = chosen_layers(options.layers, shape)
    problems = _role_problems(options.at, layers, shape) + layer_problems(options.layers, shape)
    if problems:
        raise CompositionError(problems)
    return [
        _site(layer, role, shape.layers[layer].projections[role])
        for layer in layers
        for role in options.at
    ]


def _site(layer: int, role: Role, projection: Projection) -> Site:
    return Site(
        name=f"layer{layer}_{role}",
        kind="projection",
        layer=layer,
        reads=projection.module,
        adds=projection.module,
        d=projection.d,
        o=projection.o,
        start=projection.start,
    )


def _role_problems(roles: tuple[Role, ...], layers: list[int], shape: BackboneShape) -> list[str]:
    problems = []
    for role in roles:
        without = [layer for layer in layers if role not in shape.layers[layer].projections]
        if without:
            there = ", ".join(shape.layers[without[0]].projections)
            problems.append(
                f"at: there is no projection {role!r} in layer {without[0]} of this "
                f"{shape.family}; it has {there}"
            )
    return problems
