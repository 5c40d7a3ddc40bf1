"""Progress shared out fairly among tasks, by a chosen idea of fair."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import FairGradWeighting

from mtlora_core.interfaces import GradientTransform

from .options import FairGradOptions
from .solvers import needing
from .weighted import Weighted


def fairgrad(options: FairGradOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``Σ_t w_t g_t`` with ``K w = w^{-1/α}``, K the Gramian of the gradients.

    FairGrad of Ban & Ji, "Fair Resource Allocation in Multi-Task Learning",
    https://arxiv.org/abs/2402.15638, Eq. 4; with ``alpha: 1`` the solution is that of Nash-MTL. The
    weights are no mean's: with α = 1 the result has the length √T whatever that of the gradients.

    Raises:
        CompositionError: the solver is not installed.
    """
    with needing("fairgrad", part="fairgrad"):
        weighting = FairGradWeighting(alpha=options.alpha, max_iters=options.max_iters)
    # s K w = w^{-1/α} is solved by s^{-α / (1 + α)} times the w of K.
    return Weighted(weighting, degree=-options.alpha / (1 + options.alpha))
