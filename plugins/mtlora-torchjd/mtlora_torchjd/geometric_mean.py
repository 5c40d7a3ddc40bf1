"""The geometric mean of the tasks' losses."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.scalarization import GeometricMean

from mtlora_core.interfaces import LossWeighting

from .options import GeometricMeanOptions
from .scalarized import Scalarized


def geometric_mean(options: GeometricMeanOptions, tasks: Sequence[str]) -> LossWeighting:
    """Weigh losses as the gradient of their geometric mean does, by ``(Π_j ℓ_j)^{1/n} / ℓ_i``.

    The geometric loss strategy of Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation
    and Geometric Loss Strategy for Multi-Task Learning", https://arxiv.org/abs/1904.08492. The
    scale of a task's loss means nothing: all go down at the same relative rate.

    Where we depart: the factor n, the tasks of the step, by which equal losses give joint training.
    """
    return Scalarized(GeometricMean(), factor=lambda n: n)
