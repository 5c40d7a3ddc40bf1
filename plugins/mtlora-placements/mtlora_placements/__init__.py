"""Where adapters read and add: the door, descriptions only."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the placements of this package."""
    return [
        Component(
            kind="placement",
            name="component",
            options="mtlora_placements.component:ComponentOptions",
            build="mtlora_placements.component:place",
            summary="an adapter beside each projection of the chosen roles",
            paper="arXiv:2106.09685",
            capabilities={"sites": ("projection",)},
        ),
        Component(
            kind="placement",
            name="block",
            options="mtlora_placements.block:BlockOptions",
            build="mtlora_placements.block:place",
            summary="an adapter parallel to a whole attention or FFN block",
            paper="arXiv:2603.01526",
            capabilities={"sites": ("block",)},
        ),
    ]
