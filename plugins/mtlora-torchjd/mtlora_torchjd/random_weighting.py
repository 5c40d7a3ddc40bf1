"""Weights drawn anew in every step."""

from __future__ import annotations

from collections.abc import Sequence

from torchjd.scalarization import Random

from mtlora_core.interfaces import LossWeighting

from .options import RandomWeightingOptions
from .scalarized import Scalarized


def random_weighting(options: RandomWeightingOptions, tasks: Sequence[str]) -> LossWeighting:
    """Weigh losses by ``n softmax(z)``, z normal.

    RLW of Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning", https://arxiv.org/abs/2111.10603, Algorithm 2: what a method of weighting has to
    beat. The draws come from the recipe's seed and the step.

    Where we depart: the factor n, the tasks of the step, by which the mean weight is 1.
    """
    return Scalarized(Random(), factor=lambda n: n)
