"""The examples of all tasks, encoded once and put into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..interfaces import Backbone, Encoded, Inputs
from ..tasks import Example, Split, TaskData


class Pick(NamedTuple):
    """One example: its task's index and its row in the task's split."""

    task: int
    row: int


@dataclass(frozen=True)
class Batch:
    """Examples of one forward."""

    inputs: Inputs
    task_ids: tuple[int, ...]
    labels: Tensor
    """``[b]`` in float64: class indices, or numbers for regression."""

    @property
    def tokens(self) -> int:
        """Real tokens, padding apart."""
        return int(self.inputs.mask.sum())


class Corpus:
    """One split of every task, encoded by the backbone that will read it.

    Args:
        backbone: Encodes and collates.
        data: The tasks, in the order of their ids.
        split: Which examples.
    """

    def __init__(self, backbone: Backbone, data: Sequence[TaskData], split: Split) -> None:
        self.backbone = backbone
        self.tasks = tuple(each.task for each in data)
        self.examples: list[Sequence[Example]] = [getattr(each, split) for each in data]
        self.encoded: list[list[Encoded]] = [
            backbone.encode([example.input for example in examples], task.max_length)
            for task, examples in zip(self.tasks, self.examples, strict=True)
        ]

    @property
    def lengths(self) -> list[list[int]]:
        """Tokens of every example, by task."""
        return [[row.length for row in rows] for rows in self.encoded]

    @property
    def truncated(self) -> list[int]:
        """How many examples of each task lost tokens."""
        return [sum(row.truncated for row in rows) for rows in self.encoded]

    def batch(self, picks: Sequence[Pick]) -> Batch:
        """Collate the picked examples, on the CPU."""
        inputs = self.backbone.collate([self.encoded[t][i] for t, i in picks])
        labels = torch.tensor([float(self.examples[t][i].label) for t, i in picks]).double()
        return Batch(inputs, tuple(pick.task for pick in picks), labels)
