"""The examples of all tasks, encoded once and put into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..interfaces import Backbone, Encoded, Inputs, LanguageModel
from ..recipe import Average
from ..tasks import Example, Split, Task, TaskData


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
    """``[b]`` in float64: class indices, numbers for regression, tokens of a causal answer."""
    units: Tensor
    """``[b]`` in float64: as how many each example counts in the mean of a step's losses."""

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
            encode(backbone, task, examples)
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

    def batch(self, picks: Sequence[Pick], average: Average = "examples") -> Batch:
        """Collate the picked examples, on the CPU."""
        inputs = self.backbone.collate([self.encoded[t][i] for t, i in picks])
        labels = torch.tensor([self._label(pick) for pick in picks]).double()
        units = torch.tensor([self.units(pick, average) for pick in picks]).double()
        return Batch(inputs, tuple(pick.task for pick in picks), labels, units)

    def units(self, pick: Pick, average: Average) -> int:
        """Return as how many an example counts: the tokens it says, or one."""
        return max(self.encoded[pick.task][pick.row].targets, 1) if average == "tokens" else 1

    def _label(self, pick: Pick) -> float:
        if self.tasks[pick.task].objective == "causal":
            return self.encoded[pick.task][pick.row].targets
        return float(self.examples[pick.task][pick.row].label)


def encode(backbone: Backbone, task: Task, examples: Sequence[Example]) -> list[Encoded]:
    """Encode a task's examples as training reads them: a causal task's with their answers.

    Raises:
        DataError: an input is of a kind that the backbone does not read, or cannot be read.
    """
    inputs = [example.input for example in examples]
    if task.objective != "causal":
        return backbone.encode(inputs, task.max_length)
    assert isinstance(backbone, LanguageModel), "compose asks for one for causal tasks"
    answers = [str(example.label) for example in examples]
    return backbone.encode_answers(inputs, answers, task.max_length)
