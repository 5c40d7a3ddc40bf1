"""Conflicting parts of the tasks' gradients taken out, one parameter matrix at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlora_core.interfaces import TaskGradients

from .options import OrthogonalGradientOptions


class OrthogonalGradient:
    """``Σ_i g'_i``, each ``g'_i`` a task's gradient without what goes against other tasks'.

    Implements Algorithm 1 of Ortho-LoRA, https://arxiv.org/abs/2601.09684, which is that of Yu et
    al., "Gradient Surgery for Multi-Task Learning" (PCGrad), https://arxiv.org/abs/2001.06782,
    for every low-rank matrix apart: for each task i and each other task j in random order, where
    ``⟨g'_i, g_j⟩ < 0``, ``g'_i ← g'_i - ⟨g'_i, g_j⟩ / ‖g_j‖² · g_j`` with the original ``g_j``;
    then the sum over i. ``scope: global`` is PCGrad. Since the rows sum to the joint gradient, the
    result is that of joint training wherever no two tasks conflict.

    What Ortho-LoRA leaves open is PCGrad's: the order, the original ``g_j``, the sum. A gradient
    whose squared norm underflows is no direction to project on: at the start, B = 0 makes every
    gradient of A exactly 0. The orders are drawn once a step for all matrices, from the recipe's
    seed and the step.
    """

    def __init__(
        self, options: OrthogonalGradientOptions, tasks: Sequence[str], groups: int
    ) -> None:
        """Take the options; the scope is applied by the training loop."""
        self.random = options.order == "random"

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return each group's gradient as ``[P]``."""
        order = visits(len(gradients.task_ids), gradients.seed if self.random else None)
        gramians = gradients.gramians
        return gradients.weighted(coefficients(gramians, order.to(gramians.device)))


def visits(tasks: int, seed: int | None) -> Tensor:
    """Return in which order each task visits all, ``[T, T]``; as they are without a seed."""
    if seed is None:
        return torch.arange(tasks).repeat(tasks, 1)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(tasks, tasks, generator=generator).argsort(1)


def coefficients(gramians: Tensor, order: Tensor) -> Tensor:
    """Return what each task's original gradient counts in the sum, ``[M, T]``.

    A projected gradient is ``g'_i = Σ_k C_ik g_k``, so its product with ``g_j`` is
    ``Σ_k C_ik K_kj`` and a projection changes ``C_ij`` alone. Every i goes its own way, so all of
    them and all matrices take their next step together: T steps of a few small operations.

    Args:
        gramians: K, ``[M, T, T]``, the products of every two gradients of each matrix.
        order: ``[T, T]``, row i the tasks in the order that task i visits them.
    """
    matrices, tasks, _ = gramians.shape
    everyone = torch.arange(tasks, device=gramians.device)
    identity = torch.eye(tasks, dtype=gramians.dtype, device=gramians.device)
    own = identity.repeat(matrices, 1, 1)  # C
    squares = gramians.diagonal(dim1=1, dim2=2)  # [M, T]
    tiny = torch.finfo(gramians.dtype).tiny
    for visited in order.T:  # [T]: the task that each one visits
        products = (own * gramians[:, visited]).sum(-1)  # [M, T], ⟨g'_i, g_j⟩
        norms = squares[:, visited]
        conflicts = (products < 0) & (norms >= tiny) & (visited != everyone)
        own[:, everyone, visited] -= torch.where(conflicts, products / norms, 0)
    return own.sum(1)
