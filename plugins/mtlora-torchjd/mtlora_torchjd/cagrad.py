"""Near the joint gradient, the best for the task that gains least."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import CAGradWeighting

from mtlora_core.interfaces import GradientTransform

from .options import CAGradOptions
from .solvers import needing
from .weighted import Weighted


def cagrad(options: CAGradOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return the d with the largest least product with a gradient, ``‖d - g‖ ≤ c ‖g‖``.

    CAGrad of Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning",
    https://arxiv.org/abs/2110.14048, Algorithm 1, solved by Clarabel through cvxpy.

    Where we depart: g is the sum of the gradients, where the paper has their mean, so that ``c: 0``
    is joint training.

    Raises:
        CompositionError: the solver is not installed.
    """
    with needing("cagrad", part="cagrad"):
        weighting = CAGradWeighting(c=options.c, norm_eps=options.norm_eps)
    return Weighted(weighting, averages=True)
