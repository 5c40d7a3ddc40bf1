"""What goes against another task taken out of each task's whole gradient."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import PCGradWeighting

from mtlora_core.interfaces import GradientTransform

from .options import PCGradOptions
from .weighted import Weighted


def pcgrad(options: PCGradOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``Σ_t g'_t``, each without its part against the others, in random order.

    Algorithm 1 of Yu et al., "Gradient Surgery for Multi-Task Learning",
    https://arxiv.org/abs/2001.06782. The orders come from the recipe's seed and the step; other
    groups than the whole model have the same. Where nothing conflicts, this is joint training.
    """
    return Weighted(PCGradWeighting())
