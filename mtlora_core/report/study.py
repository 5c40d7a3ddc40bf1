"""What a report is about: rows that are compared, each of runs that differ in their seed alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

GROWTH = ("name", "seed", "subset")
"""Keys in which the recipes differ that are one over more and more tasks."""

Curve = Sequence[tuple[int, float]]
"""Steps, and a value at each."""


@dataclass(frozen=True)
class Score:
    """How a run did on one task's test split."""

    metric: str
    value: float
    """Higher is better, whatever the metric."""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    recipe: Mapping[str, Any]
    """As ``recipe.yaml`` has it."""
    scores: Mapping[str, Score]
    """Of each task."""
    mean: float
    """Over the tasks."""
    parameters: Mapping[str, int]
    """How many are trained (``trainable``), and how many of these are the adapters'."""
    seconds: float | None
    """Of training; None where that was not recorded."""
    memory: int | None
    """The most that its process held, in bytes, a GPU's where it had one; None where that was not
    recorded."""
    validation: Curve
    """The mean over tasks on the validation split."""
    loss: Curve
    """The training loss of every step."""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.recipe["name"])

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return int(self.recipe["seed"])


@dataclass(frozen=True)
class Row:
    """One recipe under several seeds."""

    name: str
    """Unlike that of any other row."""
    runs: Sequence[Run]
    """In the order of their seeds."""

    @property
    def first(self) -> Run:
        """The run of the least seed; what seeds do not change is read from it."""
        return self.runs[0]

    @property
    def metrics(self) -> Mapping[str, str]:
        """The metric of each task."""
        return {task: score.metric for task, score in self.first.scores.items()}

    def means(self, tasks: Collection[str] | None = None) -> dict[int, float]:
        """Return the mean over ``tasks``, or over all of the row's, by seed."""
        if tasks is None:
            return {run.seed: run.mean for run in self.runs}
        return {r.seed: fmean(r.scores[task].value for task in tasks) for r in self.runs}

    def scores(self, task: str) -> dict[int, float]:
        """Return a task's score by seed."""
        return {run.seed: run.scores[task].value for run in self.runs}


@dataclass(frozen=True)
class Study:
    """Rows, one of which the others are held against."""

    title: str
    rows: Sequence[Row]
    baseline: Row
    notes: Sequence[str] = ()
    """What a reader should know before they compare, a sentence each."""

    @property
    def tasks(self) -> Sequence[str]:
        """Every task of any row, in the order in which they are first met."""
        return [*dict.fromkeys(task for row in self.rows for task in row.first.scores)]

    def number(self, row: Row) -> int:
        """Return the number, from 1, by which figures and tables speak of a row."""
        return self.rows.index(row) + 1

    @property
    def growing(self) -> Sequence[Sequence[Row]]:
        """Rows of one recipe over more and more tasks, those of each recipe by themselves."""
        alike: dict[str, list[Row]] = {}
        for row in self.rows:
            recipe = {key: v for key, v in row.first.recipe.items() if key not in GROWTH}
            alike.setdefault(json.dumps(recipe, sort_keys=True), []).append(row)
        ordered = [sorted(rows, key=lambda row: len(row.metrics)) for rows in alike.values()]
        return [rows for rows in ordered if len(rows) > 1]

    @property
    def common(self) -> Sequence[str]:
        """The tasks that every row has, by the same metric: rows are compared over these."""
        own = [row.metrics.items() for row in self.rows]
        return [task for task, metric in own[0] if all((task, metric) in other for other in own)]
