"""A gradient transform of TorchJD's aggregators that read the gradients themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlora_core.interfaces import TaskGradients

from .draws import drawn_from


@dataclass(frozen=True)
class Aggregated:
    """What an aggregator makes of the rows of every group, a copy of which it needs.

    A gradient whose squared norm underflows has no direction and counts as 0.
    """

    aggregator: Callable[[Tensor], Tensor]
    """Of ``[T, P]`` to ``[P]``."""

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return each group's gradient as ``[P]``."""
        return [self._aggregated(rows, gradients.seed) for rows in gradients.matrices()]

    def _aggregated(self, rows: Tensor, seed: int) -> Tensor:
        seen = rows.square().sum(1, keepdim=True) >= torch.finfo(rows.dtype).tiny
        with drawn_from(seed, rows.device):
            return self.aggregator(rows.where(seen, 0))
