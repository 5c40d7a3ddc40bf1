"""The joint gradient turned to go against no task."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import DualProjWeighting
from torchjd.linalg import QuadprogProjector

from mtlora_core.interfaces import GradientTransform

from .options import DualProjOptions
from .solvers import needing
from .weighted import Weighted


def dual_proj(options: DualProjOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``π(Σ_t g_t)``, π the projection onto the dual cone ``{u: ⟨u, g_j⟩ ≥ 0 for all j}``.

    Eq. 11 of Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning",
    https://arxiv.org/abs/1706.08840, with the tasks of a batch in place of those remembered: one
    quadratic program of T variables. Where the joint gradient conflicts with no task, it stays.

    Where we depart: the joint gradient, where TorchJD projects the mean.

    Raises:
        CompositionError: the solver is not installed.
    """
    with needing("quadprog", part="dual-proj"):
        projector = QuadprogProjector(reg_eps=options.reg_eps)
    return Weighted(DualProjWeighting(projector=projector), averages=True)
