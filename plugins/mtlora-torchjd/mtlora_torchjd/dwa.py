"""Losses weighed by how slowly they fall."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlora_core.interfaces import LossWeighting, StepLosses

from .options import DWAOptions


class DWA(LossWeighting):
    """``w_t = T softmax(r / temperature)_t``, r_t the last round's mean loss over that before it.

    Dynamic Weight Average of Liu, Johns & Davison, "End-to-End Multi-Task Learning with
    Attention", https://arxiv.org/abs/1803.10704, Eq. 7. A round is a pass through the examples,
    or ``every`` so many steps; for the first two, all weights are 1.

    Remembers the two means and the sums and counts of the round, ``[T]`` each. A task that a round
    did not have keeps its means; one that has no two yet counts as neither falling nor rising.
    """

    means: Tensor
    sums: Tensor
    counts: Tensor
    round: Tensor
    steps: Tensor

    def __init__(self, options: DWAOptions, tasks: Sequence[str]) -> None:
        super().__init__()
        self.temperature, self.every = options.temperature, options.every
        wide = torch.float64
        self.register_buffer("means", torch.zeros(2, len(tasks), dtype=wide))  # older, newer
        self.register_buffer("sums", torch.zeros(len(tasks), dtype=wide))
        self.register_buffer("counts", torch.zeros(len(tasks), dtype=wide))
        self.register_buffer("round", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weights(self, step: StepLosses) -> Tensor:
        """Return each task's weight, ``[n]``."""
        now = step.epoch if self.every is None else int(self.steps) // self.every
        if now != self.round:
            self._begin(now)
        older, newer = self.means
        falling = (older > 0) & (newer > 0)
        if not falling.any():
            return torch.ones_like(step.losses)
        rates = torch.where(falling, newer / older, 1)
        weights = len(rates) * (rates / self.temperature).softmax(0)
        return weights[[*step.task_ids]]

    def after_step(self, step: StepLosses) -> None:
        """Add the step's losses to their round."""
        self.sums[[*step.task_ids]] += step.losses
        self.counts[[*step.task_ids]] += 1
        self.steps += 1

    def _begin(self, number: int) -> None:
        seen = self.counts > 0
        averages = torch.stack([self.means[1], self.sums / self.counts])
        self.means.copy_(torch.where(seen, averages, self.means))
        self.sums.zero_()
        self.counts.zero_()
        self.round.fill_(number)
