"""A softmax over the experts for every task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing
from mtlora_core.sites import Site

from .gate import fresh_weight, shares
from .options import TaskOptions


class Task(Router):
    """A learned table of logits, one row a task: ``softmax(logits_t / temperature)``.

    Implements the mixing weights of Yang et al., "MTL-LoRA: Low-Rank Adaptation for Multi-Task
    Learning", https://arxiv.org/abs/2410.09437. The logits start uniform in ±1/√e, as
    in the released code: at a low temperature each task starts with a favourite. (Equal logits
    over up-projections that are all 0 would keep the experts equal for ever.) There the
    temperature is an argument of the command; here it is an option, so it is saved.
    """

    task_indexed: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(
        self, options: TaskOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.temperature = options.temperature
        self.logits = fresh_weight(len(tasks), experts)  # [T, e]

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[T, e]`` weights; the hidden states are ignored."""
        return Routing(shares(self.logits / self.temperature), "task")
