"""The low-rank factors a site owns: the door, descriptions only."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the experts of this package."""
    return [
        Component(
            kind="experts",
            name="lora",
            options="mtlora_experts.options:LoraOptions",
            build="mtlora_experts.lora:Lora",
            summary="one pair of low-rank factors, shared by all tasks",
            paper="arXiv:2106.09685",
            capabilities={"mixes": (), "mergeable": True, "needs_base": False},
        ),
        Component(
            kind="experts",
            name="hydra",
            options="mtlora_experts.options:HydraOptions",
            build="mtlora_experts.hydra:Hydra",
            summary="one shared down-projection, many up-projections",
            paper="arXiv:2404.19245",
            capabilities={
                "mixes": ("model", "task", "sequence", "token", "group"),
                # Under weights that follow the tokens the update is no matrix.
                "mergeable": False,
                "needs_base": False,
            },
        ),
    ]
