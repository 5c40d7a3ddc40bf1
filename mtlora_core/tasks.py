"""Tasks and their examples, as plain data: what a ``tasks`` part returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from .inputs import Chat, Input, identity, input_of
from .prompts import Asking

Objective = Literal["classification", "regression", "causal"]
Metric = Literal[
    "accuracy", "macro-f1", "mcc", "spearman", "mse", "option-accuracy", "exact-match", "contains"
]
METRICS: Mapping[Objective, tuple[Metric, ...]] = {
    "classification": ("accuracy", "macro-f1", "mcc"),
    "regression": ("spearman", "mse"),
    "causal": ("exact-match", "contains", "option-accuracy"),
}
"""What each objective can be scored by; the first is the default."""
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
class Question:
    """An input that is to be answered, read as it stands."""

    input: Input
    options: tuple[str, ...] = ()
    """Answers to choose from, of a causal task; empty: the task's own, if it has any."""


Asked = Input | Question | Example | Mapping[str, Any]
"""What may be asked of a task: an input, or a row with the columns of its data."""


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
    asking: Asking | None = None
    """How the rows of a causal task are read; None: nobody said, see :class:`Asking`."""

    def __post_init__(self) -> None:
        if not self.metric:
            object.__setattr__(self, "metric", METRICS[self.objective][0])

    @property
    def outputs(self) -> int:
        """Numbers that an example is answered with: a logit a class, or one."""
        return len(self.labels) if self.objective == "classification" else 1

    def choices(self, asked: Example | Question) -> tuple[str, ...]:
        """Return the answers that a causal task can answer something with; empty: any."""
        return asked.options or self.labels

    def question(self, asked: Asked) -> Question:
        """Return what is to be read where something is asked, as examples of the task are read.

        Args:
            asked: An input; of a causal task also a row. A text is put into the task's prompt or
                becomes the user's turn of a chat; chats, questions and examples stay as they are.

        Raises:
            ValueError: it is no input, or the row is not as the task's rows are.
        """
        if isinstance(asked, Question | Example):
            return Question(asked.input, asked.options)
        if self.objective != "causal":
            return Question(input_of(asked))
        if not isinstance(asked, str | Mapping):
            given = input_of(asked)
            if not isinstance(given, Chat):
                raise ValueError("takes a text, a chat or a row, and no other input")
            return Question(given)
        row = {"text": asked} if isinstance(asked, str) else asked
        asking = self.asking or Asking()
        read = asking.read(row)
        return Question(read if isinstance(read, str) else Chat(read), asking.choices(row))

    def to_json(self) -> dict[str, object]:
        """Return the task as JSON values; :meth:`from_json` takes it back."""
        return {k: v for k, v in asdict(self).items() if k != "asking" or v is not None}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Task:
        """Return the task that :meth:`to_json` wrote."""
        fields: dict[str, Any] = {k: tuple(v) if type(v) is list else v for k, v in value.items()}
        if fields.get("asking") is not None:
            fields["asking"] = Asking(**fields["asking"])
        return cls(**fields)


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
        task = replace(self.task, asking=None)  # what rows became is in the examples
        digest = hashlib.sha256(json.dumps(task.to_json(), sort_keys=True).encode())
        for name, examples in self.splits():
            for example in examples:
                digest.update(json.dumps([name, *_identity(example)]).encode())
        return digest.hexdigest()


def _identity(example: Example) -> list[Any]:
    """Return JSON values that are equal for equal examples only."""
    options = [example.options] if example.options else []
    return [identity(example.input), example.label, *options]
