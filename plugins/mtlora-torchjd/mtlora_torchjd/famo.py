"""All losses brought down at the same relative rate, by what steps did to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlora_core.interfaces import LossWeighting, StepLosses
from mtlora_core.learnt import Learnt

from .options import FAMOOptions

EPSILON = 1e-8


class FAMO(LossWeighting):
    """``w_t = n c z_t / L_t``, with ``z = softmax(ξ)`` over the step's n tasks and ``Σ_t w_t = n``.

    Liu et al., "FAMO: Fast Adaptive Multitask Optimization", https://arxiv.org/abs/2306.03792,
    Algorithm 2: the gradient of ``Σ_t z_t log L_t``, and ξ moved by Adam against
    ``Jᵀ (log L(θ_k) - log L(θ_{k+1}))``, J that of the softmax, with weight decay: who came down
    least gains weight.

    Remembers ξ, Adam's moments and each task's last loss, ``[T]`` each. Only tasks that a step has
    are compared, each with the last step that had it.

    Where we depart: the losses after a step are those of the next one's examples, where the
    paper's are those of the same examples, which takes another forward; and the factor n, by which
    the mean weight is 1.
    """

    last: Tensor

    def __init__(self, options: FAMOOptions, tasks: Sequence[str]) -> None:
        super().__init__()
        self.weight_decay = options.weight_decay
        self.logits = Learnt(torch.zeros(len(tasks)), options.learning_rate)
        never = torch.full((len(tasks),), torch.inf, dtype=torch.float64)
        self.register_buffer("last", never)  # logarithms

    def weights(self, step: StepLosses) -> Tensor:
        """Return each task's weight, ``[n]``."""
        ids, losses = torch.tensor(step.task_ids), step.losses + EPSILON
        self._learn(ids, losses.log())
        weights = self.logits.value[ids].softmax(0) / losses
        return len(ids) * weights / weights.sum()

    def _learn(self, ids: Tensor, now: Tensor) -> None:
        """Move the logits of the tasks that an earlier step had."""
        known = self.last[ids].isfinite()
        again = ids[known]
        if len(again):
            fallen = self.last[again] - now[known]
            logits = self.logits.value[again]
            shares = logits.softmax(0)
            gradient = shares * (fallen - (shares * fallen).sum())
            self.logits.descend(again, gradient + self.weight_decay * logits)
        self.last[ids] = now
