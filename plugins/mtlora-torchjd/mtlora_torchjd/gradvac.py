"""Gradients turned until they are as near to each other as they used to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchjd.aggregation import GradVacWeighting
from torchjd.linalg import PSDMatrix

from mtlora_core.interfaces import TaskGradients

from .draws import drawn_from
from .options import GradVacOptions
from .weighted import normalized


class GradVac(nn.Module):
    """``Σ_t g'_t``, every two tasks' gradients at least as similar as they have been on average.

    Algorithm 1 of Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task
    Optimization in Massively Multilingual Models", https://arxiv.org/abs/2010.05874: where the
    cosine of ``g'_i`` and ``g_j`` is below its moving average φ̂_ij, so much of ``g_j`` is added to
    ``g'_i`` that it is φ̂_ij. At first φ̂ is 0, which is PCGrad; later, tasks that mostly agree are
    turned even where they do not conflict.

    Remembers φ̂ for every group of the scope, as the paper does for the whole model, layers or
    matrices: ``[groups, T, T]``. Of an absent task it stays. TorchJD's code does the work, in its
    loop over pairs. Orders come from the recipe's seed and the step, the same for all groups.
    """

    targets: Tensor

    def __init__(self, options: GradVacOptions, tasks: Sequence[str], groups: int) -> None:
        super().__init__()
        self.beta = options.beta
        shape = groups, len(tasks), len(tasks)
        self.register_buffer("targets", torch.zeros(shape, dtype=torch.float64))

    def forward(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return each group's gradient as ``[P]``."""
        gramians, seed = gradients.gramians, gradients.seed
        ids = torch.tensor(gradients.task_ids)
        weights = [
            self._weights(gramian, self.targets[group], ids, seed)
            for group, gramian in zip(gradients.indices, gramians.cpu().double(), strict=True)
        ]
        return gradients.weighted(torch.stack(weights).to(gramians))

    def _weights(self, gramian: Tensor, targets: Tensor, ids: Tensor, seed: int) -> Tensor:
        unit, _ = normalized(gramian)
        weighting = GradVacWeighting(beta=self.beta)
        # Where TorchJD keeps the averages; of another number of tasks it would start anew.
        own: Any = targets[ids[:, None], ids]
        weighting._phi_t, weighting._state_key = own, (len(unit), unit.dtype)
        with drawn_from(seed, unit.device):
            weights: Tensor = weighting(cast(PSDMatrix, unit))
        targets[ids[:, None], ids] = own  # which it has changed in place
        return weights
