"""Every task's gradient turned to go against no task, then summed."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import UPGradWeighting
from torchjd.linalg import QuadprogProjector

from mtlora_core.interfaces import GradientTransform

from .options import UPGradOptions
from .solvers import needing
from .weighted import Weighted


def upgrad(options: UPGradOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``Σ_t π(g_t)``, π the projection onto the dual cone ``{u: ⟨u, g_j⟩ ≥ 0 for all j}``.

    UPGrad of Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization",
    https://arxiv.org/abs/2406.16232, section 3.1: a quadratic program of T variables for every
    task. No task's loss rises by a small enough step, and where nothing conflicts the result is
    that of joint training.

    Where we depart: the sum, where the paper takes the mean, so that this holds of the length too.

    Raises:
        CompositionError: the solver is not installed.
    """
    with needing("quadprog", part="upgrad"):
        projector = QuadprogProjector(reg_eps=options.reg_eps)
    return Weighted(UPGradWeighting(projector=projector), averages=True)
