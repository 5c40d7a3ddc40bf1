"""What an ablation found: rows over seeds, as plain data for a table, a page and a file.

Everything is read from the run folders of the cells, so it is the same whoever ran them and in
however many calls. A score is a task's primary metric on test data; ``test`` is the mean over a
row's tasks and ``common`` over the tasks that every row has, by which rows are compared.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import StringIO
from statistics import fmean
from typing import Any

from ..files import write
from ..history import History
from ..statistics import Summary, paired, summary
from .cells import Cell
from .choosing import Choice
from .folder import AblationFolder
from .measured import warnings_of
from .planned import Planned
from .study import Study

FORMAT = 1
"""Version of ``results.json``."""
COLUMNS = (
    "row", "seed", "task", "metric", "value", "low", "high", "count",
    "adapters", "trained", "steps", "training_seconds", "memory", "run",
)  # fmt: skip
"""Of ``results.csv``, which has a line for each task of each finished run."""
BESIDE = ("majority", "tfidf", "heads", "untrained")
"""What a task's score stands beside."""


@dataclass(frozen=True)
class Result:
    """A finished run of a row."""

    cell: Cell
    history: History

    @property
    def test(self) -> Mapping[str, Mapping[str, Any]]:
        """The test record of each task."""
        assert self.history.finished is not None, "only finished runs have results"
        found: Mapping[str, Mapping[str, Any]] = self.history.finished["test"]
        return found

    def mean(self, tasks: Iterable[str] | None = None) -> float:
        """Return the mean test score over ``tasks``, or over all of the run's."""
        return fmean(self.test[task]["value"] for task in tasks or self.test)

    def number(self, key: str) -> float | None:
        """Return a figure of the run's last record, such as ``memory``."""
        value: float | None = (self.history.finished or {}).get(key)
        return value


@dataclass
class Outcome:
    """A row and its runs, as far as they are finished."""

    row: Planned
    cells: Sequence[Cell]
    choice: Choice | None = None
    results: list[Result] = field(default_factory=list)

    def by_seed(self, tasks: Iterable[str] | None = None) -> dict[int, float]:
        """Return each seed's mean test score."""
        return {each.cell.seed: each.mean(tasks) for each in self.results}


def outcome_of(
    row: Planned, cells: Sequence[Cell], choice: Choice | None, histories: Mapping[str, History]
) -> Outcome:
    """Return a row with its runs.

    Args:
        row: The row.
        cells: Its runs, finished or not.
        choice: What was tuned for it.
        histories: The stories of cells by their names; what is new of them is read.
    """
    found = [Result(cell, histories[cell.name].update()) for cell in cells]
    done = [each for each in found if each.history.finished is not None]
    return Outcome(row, cells, choice, done)


def results_of(
    study: Study, outcomes: Sequence[Outcome], home: AblationFolder, failed: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that was found, as plain data."""
    tasks = _tasks(outcomes)
    common = [name for name in tasks if all(name in r.test for o in outcomes for r in o.results)]
    baseline = next(each for each in outcomes if each.row.name == study.baseline)
    return {
        "format": FORMAT,
        "name": study.name,
        "seeds": list(study.seeds),
        "baseline": study.baseline,
        "tuned": _tuned(study),
        "matched": study.options.match,
        "tasks": tasks,
        "common": common,
        "rows": [_row(each, baseline, common) for each in outcomes],
        "cells": [_cell(each, outcome, home) for outcome in outcomes for each in outcome.cells],
        "warnings": [
            *study.warnings,
            *warnings_of(outcomes, baseline, home, study.options.match),
            *(_failed_choice(each) for each in outcomes if each.choice and not each.choice.best),
        ],
        "skipped": [{"row": name, "reasons": list(lines)} for name, lines in study.skipped],
        "failed": dict(failed),
    }


def _failed_choice(outcome: Outcome) -> str:
    return f"{outcome.row.name!r} has no results: every tuning run failed, so nothing was chosen"


def save(found: Mapping[str, Any], outcomes: Sequence[Outcome], home: AblationFolder) -> None:
    """Write ``results.json`` and ``results.csv``, where they changed.

    Raises:
        MtloraError: they cannot be written.
    """
    for path, text in ((home.json, json.dumps(found, indent=2) + "\n"), (home.csv, _csv(outcomes))):
        if not path.exists() or path.read_text("utf-8") != text:
            write(path, text)


def _tasks(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Return every task with its metric, its size, and what scores stand beside."""
    found: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        for result in outcome.results:
            for name, row in result.test.items():
                beside = {key: row[key] for key in BESIDE if key in row}
                found.setdefault(name, {"metric": row["metric"], "count": row["count"], **beside})
    return found


def _tuned(study: Study) -> dict[str, Any] | None:
    tune = study.options.tune
    if tune is None:
        return None
    return {"keys": [*(tune.model_extra or {})], "seeds": list(tune.seeds), "steps": tune.steps}


def _row(each: Outcome, baseline: Outcome, common: Sequence[str]) -> dict[str, Any]:
    first = each.results[0].history if each.results else None
    started = first.started if first else {}
    return {
        "name": each.row.name,
        "changes": dict(each.row.row.changes),
        "cells": [cell.name for cell in each.cells],
        "finished": len(each.results),
        "tuning": each.choice.to_json() if each.choice else None,
        "match": asdict(each.row.match) if each.row.match else None,
        "parameters": started.get("parameters"),
        "steps": first.step if first else None,
        "tasks": len(started["tasks"]) if started else None,
        "test": _json(summary([*each.by_seed().values()])),
        "common": _json(summary([*each.by_seed(common).values()])) if common else None,
        "difference": _difference(each, baseline, common) if common else None,
        "validation": _json(summary(_known(_validation(r) for r in each.results))),
        "seconds": _json(summary(_known(r.number("training_seconds") for r in each.results))),
        "memory": _json(summary(_known(r.number("memory") for r in each.results))),
        "per_task": {name: _task(each, baseline, name) for name in _own_tasks(each)},
    }


def _own_tasks(outcome: Outcome) -> list[str]:
    return list(dict.fromkeys(name for each in outcome.results for name in each.test))


def _task(each: Outcome, baseline: Outcome, name: str) -> dict[str, Any]:
    values = {r.cell.seed: float(r.test[name]["value"]) for r in each.results if name in r.test}
    base = {r.cell.seed: float(r.test[name]["value"]) for r in baseline.results if name in r.test}
    difference = None if each is baseline else paired(values, base)
    return {"test": _json(summary([*values.values()])), "difference": _json(difference)}


def _difference(each: Outcome, baseline: Outcome, tasks: Sequence[str]) -> dict[str, Any] | None:
    if each is baseline:
        return None
    return _json(paired(each.by_seed(tasks), baseline.by_seed(tasks)))


def _cell(cell: Cell, outcome: Outcome, home: AblationFolder) -> dict[str, Any]:
    result = next((each for each in outcome.results if each.cell is cell), None)
    run = home.run(cell).path
    own = {"cell": cell.name, "row": cell.row, "seed": cell.seed}
    where = str(run.relative_to(home.path)) if run.exists() else None
    if result is None:
        return {**own, "run": where, "finished": False}
    return {
        **own,
        "run": where,
        "finished": True,
        "steps": result.history.step,
        "best_step": result.number("best_step"),
        "seconds": result.number("training_seconds"),
        "memory": result.number("memory"),
        "mean": result.mean(),
        "validation": _validation(result),
        "curve": [list(point) for point in result.history.curve],
        "test": {name: row["value"] for name, row in result.test.items()},
    }


def _validation(result: Result) -> float | None:
    return result.history.validation(result.cell.plan.recipe.train.keep)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _json(found: Summary | None) -> dict[str, Any] | None:
    return None if found is None else found.to_json()


def _csv(outcomes: Sequence[Outcome]) -> str:
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for outcome in outcomes:
        for result in outcome.results:
            writer.writerows(_lines(outcome.row.name, result))
    return stream.getvalue()


def _lines(row: str, result: Result) -> Iterable[list[Any]]:
    parameters = result.history.started["parameters"]
    run = [
        parameters["adapters"],
        parameters["trainable"],
        result.history.step,
        result.number("training_seconds"),
        result.number("memory"),
        result.cell.name,
    ]
    for task, score in result.test.items():
        own = [score[key] for key in ("metric", "value", "low", "high", "count")]
        yield [row, result.cell.seed, task, *own, *run]
