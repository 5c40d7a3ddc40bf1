"""What tasks would agree on if they bargained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchjd.aggregation import NashMTL as TheirNashMTL

from mtlora_core.interfaces import TaskGradients

from .options import NashMTLOptions
from .solvers import needing
from .weighted import normalized


class NashMTL(nn.Module):
    """``T^{-1/2} Σ_t α_t g_t`` with ``K α = 1 / α``, K the gradients' Gramian over its trace.

    Nash-MTL of Navon et al., "Multi-Task Learning as a Bargaining Game",
    https://arxiv.org/abs/2202.01017, Algorithm 1, by TorchJD's form of the paper's code: convex
    programs that ECOS solves through cvxpy. Where it finds no solution, the last weights stay.

    Remembers α for every group of the scope, ``[groups, T]``, and how many steps each has seen. Of
    an absent task, or one whose gradient is 0, it stays.

    Where we depart: the length, ``√(Σ_t ‖g_t‖²)``, where the paper's is ``√T`` whatever that of the
    gradients, and then clipped to 1. Gradients of one length at right angles give joint training.

    Raises:
        CompositionError: the solver is not installed.
    """

    alpha: Tensor
    calls: Tensor

    def __init__(self, options: NashMTLOptions, tasks: Sequence[str], groups: int) -> None:
        super().__init__()
        self.update_every = options.update_every
        self.register_buffer("alpha", torch.ones(groups, len(tasks), dtype=torch.float64))
        self.register_buffer("calls", torch.zeros(groups, dtype=torch.int64))
        self._theirs: dict[int, TheirNashMTL] = {}
        with needing("nash-mtl", part="nash-mtl"):
            self._solver(len(tasks))

    def forward(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return each group's gradient as ``[P]``."""
        gramians = gradients.gramians
        weights = [
            self._weights(gramian, group, torch.tensor(gradients.task_ids))
            for group, gramian in zip(gradients.indices, gramians.cpu().double(), strict=True)
        ]
        return gradients.weighted(torch.stack(weights).to(gramians))

    def _weights(self, gramian: Tensor, group: int, ids: Tensor) -> Tensor:
        unit, _ = normalized(gramian)
        there = unit.diagonal() > 0
        if self.calls[group] % self.update_every == 0:
            self.alpha[group, ids[there]] = self._solved(unit[there][:, there], group, ids[there])
        self.calls[group] += 1
        weights: Tensor = self.alpha[group, ids] * max(int(there.sum()), 1) ** -0.5
        return weights

    def _solved(self, gramian: Tensor, group: int, ids: Tensor) -> Tensor:
        """Return the weights of gradients that are there, from the last ones on."""
        if len(ids) < 2:
            return torch.ones(len(ids), dtype=gramian.dtype)
        weighting = self._solver(len(ids)).weighting
        weighting.prvs_alpha = self.alpha[group, ids].numpy()
        squares, vectors = torch.linalg.eigh(gramian)
        with warnings.catch_warnings():
            # Of every step: that the program is set up anew, and that a solution is inexact.
            warnings.filterwarnings("ignore", category=UserWarning)
            # It takes gradients; any with these products will do.
            found: Tensor = weighting(vectors * squares.clamp(min=0).sqrt())
        return found

    def _solver(self, tasks: int) -> TheirNashMTL:
        """Return TorchJD's solver for a number of tasks, which it sets up once."""
        if tasks not in self._theirs:
            self._theirs[tasks] = TheirNashMTL(tasks, max_norm=0.0)
        return self._theirs[tasks]
