"""The shortest weighted mean of the tasks' gradients."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import MGDAWeighting

from mtlora_core.interfaces import GradientTransform

from .options import MGDAOptions
from .weighted import Weighted


def mgda(options: MGDAOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``T · Σ_t α_t g_t`` with the weights of a mean that make it shortest.

    MGDA as in Sener & Koltun, "Multi-Task Learning as Multi-Objective Optimization",
    https://arxiv.org/abs/1810.04650, Algorithm 2 (Frank-Wolfe). It has the same product with all
    gradients that count and favours the shortest, so it follows the task that is learnt already;
    where one is 0, so is the result.

    Where we depart: the factor T, by which equal weights are joint training.
    """
    weighting = MGDAWeighting(epsilon=options.epsilon, max_iters=options.max_iters)
    return Weighted(weighting, averages=True)
