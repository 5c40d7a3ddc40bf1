"""What keeps experts apart and in use: the door, descriptions only."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the penalties of this package."""
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
    ]
