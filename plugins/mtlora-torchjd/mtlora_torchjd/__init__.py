"""TorchJD's aggregators as gradient transforms: the door, descriptions only."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the transforms of this package."""
    return [
        Component(
            kind="regularizer",
            name="upgrad",
            options="mtlora_torchjd.options:UPGradOptions",
            build="mtlora_torchjd.upgrad:upgrad",
            summary="each task's gradient turned to go against no task, then summed",
            paper="arXiv:2406.16232",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="mgda",
            options="mtlora_torchjd.options:MGDAOptions",
            build="mtlora_torchjd.mgda:mgda",
            summary="the shortest weighted mean of the tasks' gradients",
            paper="arXiv:1810.04650",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="imtl-g",
            options="mtlora_torchjd.options:IMTLGOptions",
            build="mtlora_torchjd.imtl_g:imtl_g",
            summary="equal progress along every task's own direction",
            paper="https://openreview.net/forum?id=IMPnRXEWpvr",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="aligned-mtl",
            options="mtlora_torchjd.options:AlignedMTLOptions",
            build="mtlora_torchjd.aligned_mtl:aligned_mtl",
            summary="the principal components of the tasks' gradients made equally long",
            paper="arXiv:2305.19000",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="dual-proj",
            options="mtlora_torchjd.options:DualProjOptions",
            build="mtlora_torchjd.dual_proj:dual_proj",
            summary="the joint gradient turned to go against no task",
            paper="arXiv:1706.08840",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="pcgrad",
            options="mtlora_torchjd.options:PCGradOptions",
            build="mtlora_torchjd.pcgrad:pcgrad",
            summary="what goes against another task taken out of each task's whole gradient",
            paper="arXiv:2001.06782",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="cagrad",
            options="mtlora_torchjd.options:CAGradOptions",
            build="mtlora_torchjd.cagrad:cagrad",
            summary="near the joint gradient, the best for the task that gains least",
            paper="arXiv:2110.14048",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="fairgrad",
            options="mtlora_torchjd.options:FairGradOptions",
            build="mtlora_torchjd.fairgrad:fairgrad",
            summary="progress shared out fairly among tasks, by a chosen idea of fair",
            paper="arXiv:2402.15638",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="config",
            options="mtlora_torchjd.options:ConFIGOptions",
            build="mtlora_torchjd.config:config",
            summary="the direction at the same angle to every task's gradient",
            paper="arXiv:2408.11104",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="grad-drop",
            options="mtlora_torchjd.options:GradDropOptions",
            build="mtlora_torchjd.grad_drop:grad_drop",
            summary="one sign drawn for every number of the gradient, the other dropped",
            paper="arXiv:2010.06808",
            capabilities={"transforms_gradients": True},
        ),
    ]
