"""A gradient transform of weights that TorchJD computes from the products of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torchjd.aggregation import Weighting
from torchjd.linalg import PSDMatrix

from mtlora_core.interfaces import TaskGradients

from .draws import drawn_from


@dataclass(frozen=True)
class Weighted:
    """``Σ_t w_t g_t`` in every group, with weights of the group's Gramian.

    TorchJD takes gradients that are smaller than about 0.01, all together, for 0, and a solver
    may end early on such, so it gets every Gramian scaled to a trace of 1; all its weightings
    depend on the scale by a known power of it. They are tiny and run on the CPU.
    """

    weighting: Weighting[PSDMatrix]
    averages: bool = False
    """Whether the weights are those of a mean; then they are multiplied by the number of tasks
    that are present, since rows add up to the joint gradient."""
    degree: float = 0.0
    """The power of a factor of the Gramian that the weights have as a factor."""

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return each group's gradient as ``[P]``."""
        gramians = gradients.gramians
        weights = [self._weights(gramian, gradients.seed) for gramian in gramians.cpu()]
        return gradients.weighted(torch.stack(weights).to(gramians))

    def _weights(self, gramian: Tensor, seed: int) -> Tensor:
        unit, trace = normalized(gramian)
        with drawn_from(seed, unit.device):
            weights: Tensor = self.weighting(cast(PSDMatrix, unit))
        return weights * trace**self.degree * (len(unit) if self.averages else 1)


def normalized(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """Return a Gramian ``[T, T]`` over its trace, and the trace, or 1 where that is 0.

    A gradient whose squared norm underflows has no direction and counts as 0.
    """
    trace = gramian.trace()
    trace = torch.where(trace > 0, trace, 1)
    unit = gramian / trace
    seen = unit.diagonal() >= torch.finfo(unit.dtype).tiny
    return unit.where(seen[:, None] & seen, 0), trace
