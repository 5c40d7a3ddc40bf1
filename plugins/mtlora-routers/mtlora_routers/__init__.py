"""How much of each expert, for which unit: the door, descriptions only."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the routers of this package."""
    return [
        Component(
            kind="router",
            name="uniform",
            options="mtlora_routers.options:UniformOptions",
            build="mtlora_routers.uniform:Uniform",
            summary="every expert counts the same, always",
            paper="arXiv:2603.01526",
            capabilities={
                "per": "model",
                "needs_task": False,
                "normalized": True,
                "causal": True,
                "learned": False,
            },
        ),
        Component(
            kind="router",
            name="task",
            options="mtlora_routers.options:TaskOptions",
            build="mtlora_routers.task:Task",
            summary="a softmax over the experts for every task",
            paper="arXiv:2410.09437",
            capabilities={
                "per": "task",
                "needs_task": True,
                "normalized": True,
                "causal": True,
                "learned": True,
            },
        ),
        Component(
            kind="router",
            name="task-embedding",
            options="mtlora_routers.options:TaskEmbeddingOptions",
            build="mtlora_routers.task_embedding:TaskEmbedding",
            summary="a softmax over the experts for every task, from its learned embedding",
            paper="arXiv:2310.18339",
            capabilities={
                "per": "task",
                "needs_task": True,
                "normalized": True,
                "causal": True,
                "learned": True,
            },
        ),
        Component(
            kind="router",
            name="token",
            options="mtlora_routers.options:TokenOptions",
            build="mtlora_routers.token:Token",
            summary="a softmax over the experts for every token",
            paper="arXiv:2404.19245",
            capabilities={
                "per": "token",
                "needs_task": False,
                "normalized": True,
                "causal": True,
                "learned": True,
            },
        ),
        Component(
            kind="router",
            name="fine-grained",
            options="mtlora_routers.options:FineGrainedOptions",
            build="mtlora_routers.fine_grained:FineGrained",
            summary="a softmax over the experts for every token and group of output dimensions",
            paper="arXiv:2603.01526",
            capabilities={
                "per": "group",
                "needs_task": False,
                "normalized": True,
                "causal": True,
                "learned": True,
            },
        ),
        Component(
            kind="router",
            name="top-k",
            options="mtlora_routers.options:TopKOptions",
            build="mtlora_routers.top_k:TopK",
            summary="a softmax over the k experts with the highest logits, for every token",
            paper="arXiv:1701.06538",
            capabilities={
                "per": "token",
                "needs_task": False,
                "normalized": True,
                "causal": True,
                "learned": True,
                "sparse": True,
            },
        ),
        Component(
            kind="router",
            name="rank-top-k",
            options="mtlora_routers.options:RankTopKOptions",
            build="mtlora_routers.rank_top_k:RankTopK",
            summary="sigmoid weights of the top k experts of every token, balanced by a bias",
            paper="arXiv:2501.15103",
            capabilities={
                "per": "token",
                "needs_task": False,
                "normalized": True,
                "causal": True,
                "learned": True,
                "sparse": True,
            },
        ),
    ]
