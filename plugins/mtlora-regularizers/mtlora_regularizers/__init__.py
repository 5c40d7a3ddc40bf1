"""What keeps experts apart and tasks from hurting each other: the door, descriptions only."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the penalties and the transforms of this package."""
    return [
        Component(
            kind="regularizer",
            name="uniform-orthogonality",
            options="mtlora_regularizers.options:UniformOrthogonalityOptions",
            build="mtlora_regularizers.uniform_orthogonality:UniformOrthogonality",
            summary="the up-projections of every two experts at right angles",
            paper="arXiv:2603.01526",
            capabilities={"penalizes": "weights", "transforms_gradients": False},
        ),
        Component(
            kind="regularizer",
            name="spectral-aware",
            options="mtlora_regularizers.options:SpectralAwareOptions",
            build="mtlora_regularizers.spectral_aware:SpectralAware",
            summary="weak directions of every two experts at right angles, strong ones left free",
            paper="arXiv:2603.01526",
            capabilities={"penalizes": "weights", "transforms_gradients": False},
        ),
        Component(
            kind="regularizer",
            name="balance",
            options="mtlora_regularizers.options:BalanceOptions",
            build="mtlora_regularizers.balance:Balance",
            summary="every expert used as much as every other",
            paper="arXiv:2603.01526",
            capabilities={"penalizes": "routing", "transforms_gradients": False},
        ),
        Component(
            kind="regularizer",
            name="load-balancing",
            options="mtlora_regularizers.options:LoadBalancingOptions",
            build="mtlora_regularizers.load_balancing:LoadBalancing",
            summary="every expert kept by as many tokens as every other",
            paper="arXiv:2101.03961",
            capabilities={"penalizes": "selection", "transforms_gradients": False},
        ),
        Component(
            kind="regularizer",
            name="orthogonal-gradient",
            options="mtlora_regularizers.options:OrthogonalGradientOptions",
            build="mtlora_regularizers.orthogonal_gradient:OrthogonalGradient",
            summary="what goes against another task taken out of each task's gradient",
            paper="arXiv:2601.09684",
            capabilities={"transforms_gradients": True},
        ),
        Component(
            kind="regularizer",
            name="grad-norm",
            options="mtlora_regularizers.options:GradNormOptions",
            build="mtlora_regularizers.grad_norm:GradNorm",
            summary="tasks weighed until their gradients are as long as their progress asks for",
            paper="arXiv:1711.02257",
            capabilities={"transforms_gradients": True},
        ),
    ]
