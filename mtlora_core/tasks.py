"""Tasks and their examples, as plain data: what a ``tasks`` part returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Text = str | tuple[str, str]
"""What a text model reads: one text, or a pair given to the tokenizer as a pair."""

Objective = Literal["classification", "regression"]
Metric = Literal["accuracy", "macro-f1", "mcc", "spearman", "mse"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Example:
    """One input and its label: the class's index, or a number for regression."""

    input: Text
    label: int | float


@dataclass(frozen=True)
class Task:
    """What a model must know of a task to learn it and to answer it."""

    name: str
    objective: Objective = "classification"
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of their indices; empty for regression."""
    metric: Metric = "accuracy"
    """The primary metric, by which steps are selected; ``mse`` counts with its sign changed."""
    weight: float = 1.0
    """Factor of the task's loss."""
    class_weights: tuple[float, ...] | None = None
    """Factor of each class in the cross-entropy."""
    max_length: int | None = None
    """Tokens of an input that are kept, where the task needs fewer than the backbone's."""

    @property
    def outputs(self) -> int:
        """Width of the task's head: its classes, or 1 for regression."""
        return len(self.labels) if self.objective == "classification" else 1

    def to_json(self) -> dict[str, object]:
        """Return the task as JSON values; :meth:`from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Task:
        """Return the task that :meth:`to_json` wrote."""
        lists = {k: tuple(v) for k, v in value.items() if isinstance(v, list)}
        return cls(**{**value, **lists})  # type: ignore[arg-type]  # the fields are checked by use


@dataclass(frozen=True)
class TaskData:
    """A task with its examples."""

    task: Task
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]

    def splits(self) -> Iterator[tuple[Split, Sequence[Example]]]:
        """Yield each split's name and examples."""
        for name in SPLITS:
            yield name, getattr(self, name)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the task, its examples and their order."""
        digest = hashlib.sha256(json.dumps(self.task.to_json(), sort_keys=True).encode())
        for name, examples in self.splits():
            for example in examples:
                digest.update(json.dumps([name, example.input, example.label]).encode())
        return digest.hexdigest()
