"""Equal progress along every task's own direction."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.aggregation import IMTLGWeighting

from mtlora_core.interfaces import GradientTransform

from .options import IMTLGOptions
from .weighted import Weighted


def imtl_g(options: IMTLGOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return ``T · Σ_t α_t g_t`` with ``Σ α = 1`` and equal products with ``g_t / ‖g_t‖``.

    IMTL-G of Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr, in the form that TorchJD gives it for dependent
    gradients: ``α ∝ K⁺ √diag K``. Weights can be negative, and large where gradients are almost
    dependent: clip.

    Where we depart: the factor T, by which equal weights are joint training.
    """
    return Weighted(IMTLGWeighting(), averages=True)
