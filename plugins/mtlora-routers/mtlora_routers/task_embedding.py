"""A softmax over the experts for every task, from a learned embedding of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing
from mtlora_core.sites import Site

from .gate import fresh_weight, gate
from .options import TaskEmbeddingOptions


class TaskEmbedding(Router):
    """A linear map of the task's embedding and a softmax: ``softmax(W e_t)``.

    Implements the task-motivated gate of Liu et al., "When MOE Meets LLMs: Parameter Efficient
    Fine-tuning for Multi-task Medical Applications" (MOELoRA), https://arxiv.org/abs/2310.18339,
    with an embedding and a gate at every site. As in the released code the table has a row more
    than there are tasks, which keeps parameter counts and saved tables alike. mtLoRA's copy of
    that code falls back on the last row where no task is given, as when it generates text, though
    nothing ever trains it; here a missing task is an error, and nothing reads that row.
    """

    task_indexed: ClassVar[frozenset[str]] = frozenset({"embedding"})

    def __init__(
        self, options: TaskEmbeddingOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.tasks = len(tasks)
        self.embedding = nn.Parameter(torch.randn(self.tasks + 1, options.width))  # [T + 1, width]
        self.weight = fresh_weight(experts, options.width)  # [e, width]

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[T, e]`` weights; the hidden states are ignored."""
        weights = gate(self.embedding[None, : self.tasks], self.weight, 1)  # [1, T, 1, e]
        return Routing(weights[0, :, 0], "task")
