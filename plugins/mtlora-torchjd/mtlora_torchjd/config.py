"""The direction at the same angle to every task's gradient."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import ConFIG

from mtlora_core.interfaces import GradientTransform

from .aggregated import Aggregated
from .options import ConFIGOptions


def config(options: ConFIGOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``(Σ_t ⟨g_t, u⟩) u``, u the unit vector along ``U⁺ 1``, U the gradients' directions.

    ConFIG of Liu, Chu & Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed
    Neural Networks", https://arxiv.org/abs/2408.11104, Eq. 2. It reads the gradients themselves,
    by a singular value decomposition of all rows.
    """
    return Aggregated(ConFIG())
