"""A smooth maximum of the tasks' losses."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.scalarization import STCH

from mtlora_core.interfaces import LossWeighting

from .options import STCHOptions
from .scalarized import Scalarized


def stch(options: STCHOptions, tasks: Sequence[str]) -> LossWeighting:
    """Weigh losses by ``n softmax(ℓ / (n μ))``, which favours the largest.

    Smooth Tchebycheff scalarization of Lin et al., "Smooth Tchebycheff Scalarization for
    Multi-Objective Optimization", https://arxiv.org/abs/2402.19078, with equal preferences that
    add up to 1 and an ideal point of 0.

    Where we depart: the factor n², n the tasks of the step, by which equal losses give joint
    training.
    """
    return Scalarized(STCH(options.mu), factor=lambda n: n**2)
