"""The principal components of the tasks' gradients made equally long."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import AlignedMTLWeighting

from mtlora_core.interfaces import GradientTransform

from .options import AlignedMTLOptions
from .weighted import Weighted


def aligned_mtl(options: AlignedMTLOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``Σ_t ĝ_t``, the gradients with all principal components as long as the shortest.

    Aligned-MTL of Senushkin et al., "Independent Component Alignment for Multi-Task Learning",
    https://arxiv.org/abs/2305.19000, Algorithm 1: ``K = V Λ Vᵀ``, weights
    ``√λ_min V Λ^{-1/2} Vᵀ 1`` over the components that are there. Gradients of one length at
    right angles give joint training.

    Where we depart: a sum, where the paper takes a mean.
    """
    return Weighted(AlignedMTLWeighting(scale_mode=options.scale_mode), averages=True)
