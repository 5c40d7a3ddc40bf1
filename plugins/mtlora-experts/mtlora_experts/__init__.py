"""The low-rank factors a site owns: the door, descriptions only."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl

ANY_UNIT = ("model", "task", "sequence", "token", "group")
"""What experts mix that leave the weighing wholly to the core's algebra."""


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
            name="per-task",
            options="mtlora_experts.options:PerTaskOptions",
            build="mtlora_experts.per_task:PerTask",
            summary="a pair of low-rank factors for every task, none of it shared",
            paper="arXiv:2106.09685",
            capabilities={
                "mixes": (),
                "mergeable": True,
                "needs_base": False,
                "needs_task": True,
            },
        ),
        Component(
            kind="experts",
            name="dora",
            options="mtlora_experts.options:DoraOptions",
            build="mtlora_experts.dora:Dora",
            summary="low-rank factors for the direction of a weight, and a learned magnitude",
            paper="arXiv:2402.09353",
            capabilities={"mixes": (), "mergeable": True, "needs_base": True},
        ),
        Component(
            kind="experts",
            name="multilora",
            options="mtlora_experts.options:MultiLoraOptions",
            build="mtlora_experts.multilora:MultiLora",
            summary="several pairs of factors added up, each with a learned scale of its outputs",
            paper="arXiv:2311.11501",
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
                "mixes": ANY_UNIT,
                "mergeable": True,
                "needs_base": False,
                "start_equal": True,
            },
        ),
        Component(
            kind="experts",
            name="moe",
            options="mtlora_experts.options:MoeOptions",
            build="mtlora_experts.moe:Moe",
            summary="many small pairs of factors, which share one rank",
            paper="arXiv:2310.18339",
            capabilities={
                "mixes": ANY_UNIT,
                "mergeable": True,
                "needs_base": False,
                "start_equal": False,
            },
        ),
        Component(
            kind="experts",
            name="mtl",
            options="mtlora_experts.options:MtlOptions",
            build="mtlora_experts.mtl:Mtl",
            summary="one shared down-projection, a transform for each task, many up-projections",
            paper="arXiv:2410.09437",
            capabilities={
                # The transform of the task acts before mixing, so weights of any unit will do.
                "mixes": ANY_UNIT,
                "mergeable": True,
                "needs_base": False,
                "needs_task": True,
                "start_equal": True,
            },
        ),
        Component(
            kind="experts",
            name="rank-one",
            options="mtlora_experts.options:RankOneOptions",
            build="mtlora_experts.rank_one:RankOne",
            summary="many pairs of factors of rank one, each an expert of its own",
            paper="arXiv:2501.15103",
            capabilities={
                "mixes": ANY_UNIT,
                "mergeable": True,
                "needs_base": False,
                "start_equal": False,
            },
        ),
    ]
