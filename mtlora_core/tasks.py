"""Tasks and their examples, as plain data: what a ``tasks`` part returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from .inputs import Input, identity

Objective = Literal["classification", "regression", "causal"]
Metric = Literal[
    "accuracy", "macro-f1", "mcc", "spearman", "mse", "option-accuracy", "exact-match", "contains"
]
DEFAULT_METRICS: Mapping[Objective, Metric] = {
    "classification": "accuracy",
    "regression": "spearman",
    "causal": "exact-match",
}
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Example:
    """One input and its label: a class's index, a number for regression, or an answer's text."""

    input: Input
    label: int | float | str
    options: tuple[str, ...] = ()
    """Answers to choose from, of a causal task whose examples have their own."""


@dataclass(frozen=True)
class Task:
    """What a model must know of a task to learn it and to answer it."""

    name: str
    objective: Objective = "classification"
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of their indices; of a causal task, the answers to choose
    from, where all examples have the same; empty for regression."""
    metric: Metric = ""  # type: ignore[assignment]  # filled in below
    """The primary metric, by which steps are selected; ``mse`` counts with its sign changed. Left
    out: ``accuracy``, ``spearman`` or ``exact-match``, by the objective."""
    weight: float = 1.0
    """Factor of the task's loss."""
    class_weights: tuple[float, ...] | None = None
    """Factor of each class in the cross-entropy."""
    max_length: int | None = None
    """Tokens of an input that are kept, where the task needs fewer than the backbone's."""

    def __post_init__(self) -> None:
        if not self.metric:
            object.__setattr__(self, "metric", DEFAULT_METRICS[self.objective])

    @property
    def outputs(self) -> int:
        """Numbers that an example is answered with: a logit a class, or one."""
        return len(self.labels) if self.objective == "classification" else 1

    def choices(self, example: Example) -> tuple[str, ...]:
        """Return the answers that a causal task's example can be answered with; empty: any."""
        return example.options or self.labels

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
                digest.update(json.dumps([name, *_identity(example)]).encode())
        return digest.hexdigest()


def _identity(example: Example) -> list[Any]:
    """Return JSON values that are equal for equal examples only."""
    options = [example.options] if example.options else []
    return [identity(example.input), example.label, *options]
