"""Tasks weighed until their gradients are as long as their progress asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlora_core.interfaces import TaskGradients
from mtlora_core.learnt import Learnt

from .options import GradNormOptions

TINY = 1e-8


class GradNorm(nn.Module):
    """``Σ_t w_t g_t``, w learnt by descent on ``Σ_t | w_t ‖g_t‖ - Ḡ r_t^α |`` with a sum of T.

    Implements Algorithm 1 of Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss
    Balancing in Deep Multitask Networks", https://arxiv.org/abs/1711.02257. Ḡ is the mean of
    ``w_t ‖g_t‖`` and ``r_t`` the task's loss over its first one, over the mean of these ratios;
    ``Ḡ r_t^α`` is held constant. A step is taken with the weights before it, then these are
    moved by Adam and scaled to their sum. At first they are 1, which is joint training.

    Remembers w and Adam's moments for every group of the scope, ``[groups, T]`` each, and the
    first losses, ``[T]``. Means are over the tasks of a step, whose weights keep their sum; those
    of absent tasks stay.

    Where we depart: the norms are those over all parameters that tasks share (``scope: global``),
    where the paper takes one layer to save backward passes; what belongs to a task alone, its head
    among it, keeps its own gradient, whose scale AdamW divides out; and weights stay above 0.
    """

    first: Tensor

    def __init__(self, options: GradNormOptions, tasks: Sequence[str], groups: int) -> None:
        super().__init__()
        self.alpha = options.alpha
        self.weights = Learnt(torch.ones(groups, len(tasks)), options.learning_rate)
        self.register_buffer("first", torch.zeros(len(tasks), dtype=torch.float64))

    def forward(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return each group's gradient as ``[P]``."""
        at = torch.tensor(gradients.indices)[:, None], torch.tensor(gradients.task_ids)
        gramians = gradients.gramians
        norms = gramians.diagonal(dim1=1, dim2=2).cpu().double().sqrt()  # [M, T]
        weights = self.weights.value[at]
        self._learn(at, weights, norms, self._rates(at[1], gradients.losses.cpu().double()))
        return gradients.weighted(weights.to(gramians))

    def _rates(self, ids: Tensor, losses: Tensor) -> Tensor:
        """Return r, ``[T]``, of the tasks that are present."""
        self.first[ids] = torch.where(self.first[ids] > 0, self.first[ids], losses)
        ratios = torch.where(self.first[ids] > 0, losses / self.first[ids], 1)
        return ratios / ratios.mean().clamp(min=TINY)

    def _learn(
        self, at: tuple[Tensor, Tensor], weights: Tensor, norms: Tensor, rates: Tensor
    ) -> None:
        lengths = weights * norms
        target = lengths.mean(1, keepdim=True) * rates**self.alpha
        self.weights.descend(at, (lengths - target).sign() * norms)
        moved = self.weights.value[at].clamp(min=TINY)
        scale = weights.sum(1, keepdim=True) / moved.sum(1, keepdim=True)
        self.weights.value[at] = moved * scale
