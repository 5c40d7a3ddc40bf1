"""Losses weighed by how uncertain their tasks are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlora_core.interfaces import LossWeighting, StepLosses
from mtlora_core.learnt import Learnt

from .options import UncertaintyWeightingOptions


class UncertaintyWeighting(LossWeighting):
    """``w_t = exp(-s_t)``, the log-variance s learnt by descent on ``Σ_t ½ exp(-s_t) L_t + ½ s_t``.

    Kendall, Gal & Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
    Geometry and Semantics", https://arxiv.org/abs/1705.07115, Eq. 7 with ``s = log σ²``. It goes
    to ``w_t = 1 / L_t``. IMTL-L, https://openreview.net/forum?id=IMPnRXEWpvr, is the same with
    ``-s`` learnt.

    Remembers s and Adam's moments, ``[T]`` each; s begins at 0, which is joint training.

    Where we depart: twice the paper's loss, by which it begins so, and a learning rate of its own.
    """

    def __init__(self, options: UncertaintyWeightingOptions, tasks: Sequence[str]) -> None:
        super().__init__()
        self.log_variances = Learnt(torch.zeros(len(tasks)), options.learning_rate)

    def weights(self, step: StepLosses) -> Tensor:
        """Return each task's weight, ``[n]``."""
        return self.log_variances.value[[*step.task_ids]].neg().exp()

    def after_step(self, step: StepLosses) -> None:
        """Move the log-variances of the step's tasks."""
        self.log_variances.descend([*step.task_ids], (1 - self.weights(step) * step.losses) / 2)
