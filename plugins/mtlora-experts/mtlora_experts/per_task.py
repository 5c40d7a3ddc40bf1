"""A pair of low-rank factors for every task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up
from .options import PerTaskOptions


class PerTask(Experts):
    """A LoRA for each task: ``update = alpha / r · B_t A_t drop(x)``, nothing shared.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
    https://arxiv.org/abs/2106.09685, Eq. 3, once a task: the single-task runs that mtLoRA,
    https://arxiv.org/abs/2603.01526, quotes as its upper bound, in one run. Every task's factors
    are parameters of their own, and only those of the tasks in a batch enter the graph. The others
    get no gradient at all, so the optimizer passes them over: neither momentum nor weight decay
    moves them, and their own count of steps stands still. What tasks still share is the recipe's
    ``train``: learning rate, schedule, and the norm that gradients are clipped by together. The
    parameters are float32 whatever the backbone's dtype; the update has their dtype, or
    autocast's.
    """

    task_indexed: ClassVar[frozenset[str]] = frozenset({"down", "up"})

    def __init__(self, options: PerTaskOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = len(tasks)
        self.scale = options.alpha / options.rank
        self.dropout = options.dropout
        self.down = nn.ParameterList(fresh_uniform(options.rank, site.d) for _ in tasks)  # [r, d]
        self.up = nn.ParameterList(fresh_up(site.o, options.rank) for _ in tasks)  # [o, r]

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; each row is its own task's, so there is no routing."""
        tasks, places = site.context.present_tasks_for(site.hidden)
        down = torch.stack([self.down[task] for task in tasks])[places]  # [b, r, d]
        up = torch.stack([self.up[task] for task in tasks])[places]  # [b, o, r]
        hidden = functional.dropout(site.hidden, self.dropout, self.training)
        return torch.bmm(torch.bmm(hidden, down.mT) * self.scale, up.mT)

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the task's B and its scaled A."""
        assert task is not None, "these experts ask for the task"
        return Factors(self.up[task], self.scale * self.down[task])

    @property
    def up_factors(self) -> Tensor:
        """Every task's B as ``[o, T, r]``."""
        return torch.stack(list(self.up), dim=1)
