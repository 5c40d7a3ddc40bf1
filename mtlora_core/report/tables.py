"""The tables of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from ..statistics import Summary, paired, summary
from . import words
from .recipes import differing, phrase
from .study import Curve, Row, Run, Study
from .table import Cells, Column, Table

ROW = (Column("number", "#", words.count), Column("row", "row"))
MEAN = (
    Column("mean", "mean", words.score),
    Column("deviation", "std", words.score),
    Column("low", "95 % low", words.score),
    Column("high", "95 % high", words.score),
)
CHANGE = (
    Column("difference", "difference", words.change),
    Column("difference_low", "95 % low", words.change),
    Column("difference_high", "95 % high", words.change),
    Column("pairs", "pairs", words.count),
)
SEEDS = Column("seeds", "seeds", words.count)
STEP = Column("step", "step", words.count)
TASKS = Column("tasks", "tasks", words.count)
PARAMETERS = Column("parameters", "trained parameters", words.count)

OWN = "its own tasks"
"""What the mean of a row is over where rows do not have the same tasks."""

POINTS = 50
"""The most points of a curve of losses; each is the mean of the steps that it stands for."""


def rows(study: Study) -> Table:
    """Return the table that answers the question: a line a row."""
    columns = (
        *ROW,
        *MEAN,
        *CHANGE,
        SEEDS,
        TASKS,
        PARAMETERS,
        Column("seconds", "training", words.duration),
        Column("memory", "peak memory", words.memory),
    )
    return Table("rows", columns, [_row(study, row) for row in study.rows])


def tasks(study: Study) -> Table:
    """Return a line for each task and row."""
    columns = (Column("task", "task"), Column("metric", "metric"), *ROW, *MEAN, *CHANGE, SEEDS)
    lines = [
        {
            "task": task,
            "metric": row.first.scores[task].metric,
            **_named(study, row),
            **_summary(row.scores(task)),
            **_difference(study, row, task),
        }
        for task in study.tasks
        for row in study.rows
        if task in row.first.scores
    ]
    return Table("tasks", columns, lines)


def growth(study: Study) -> Table:
    """Return each row's mean over its own tasks, then over those that all rows have."""
    shared = f"the {len(study.common)} task{'s' * (len(study.common) != 1)} of all rows"
    over = {OWN: None, shared: study.common}
    lines = [
        {**_named(study, row), "over": name, "tasks": len(row.metrics), **_summary(row.means(some))}
        for name, some in over.items()
        if some is None or some
        for row in study.rows
    ]
    return Table("growth", (*ROW, Column("over", "mean over"), TASKS, *MEAN, SEEDS), lines)


def validation(study: Study) -> Table:
    """Return the mean over tasks at each validation that all seeds of a row came to."""
    lines = [
        {**_named(study, row), "step": step, "mean": mean}
        for row in study.rows
        for step, mean in _together([run.validation for run in row.runs])
    ]
    return Table("validation", (*ROW, STEP, Column("mean", "mean", words.score)), lines)


def loss(study: Study) -> Table:
    """Return the training loss, the mean of a window of steps over all seeds of a row."""
    lines = [
        {**_named(study, row), "step": step, "loss": mean}
        for row in study.rows
        for step, mean in _thin(_together([run.loss for run in row.runs]))
    ]
    return Table("loss", (*ROW, STEP, Column("loss", "loss", words.short)), lines)


def seeds(study: Study) -> Table:
    """Return a line for each run."""
    columns = (
        *ROW,
        Column("seed", "seed", words.count),
        Column("mean", "mean", words.score),
        Column("seconds", "training", words.duration),
        Column("memory", "peak memory", words.memory),
        Column("folder", "folder"),
    )
    lines = [{**_named(study, row), **_run(run)} for row in study.rows for run in row.runs]
    return Table("seeds", columns, lines)


def recipes(study: Study) -> Table:
    """Return what differs between the rows' recipes, and nothing else."""
    found = differing([row.first.recipe for row in study.rows])
    columns = [*ROW, *(Column(key, key) for key in found[0])]
    lines = [
        {**_named(study, row), **{key: _value(value) for key, value in own.items()}}
        for row, own in zip(study.rows, found, strict=True)
    ]
    return Table("recipes", columns, lines)


def scoreboard(study: Study) -> Table:
    """Return the tasks as papers print them: a line a task, a column a row."""
    columns = [Column("task", "task"), Column("metric", "metric")]
    columns += [Column(str(study.number(r)), r.name, words.aligned) for r in study.rows]
    lines = [
        {
            "task": task,
            "metric": next(row.metrics[task] for row in study.rows if task in row.metrics),
            **{str(study.number(row)): _spread(row, task) for row in study.rows},
        }
        for task in study.tasks
    ]
    return Table("scoreboard", columns, lines)


def _value(value: object) -> words.Value:
    """Return a recipe's entry as a number where it is one, and so is put in order by size."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return phrase(value)


def _spread(row: Row, task: str) -> str | None:
    own = summary([*row.scores(task).values()]) if task in row.metrics else None
    if own is None or own.deviation is None:
        return None if own is None else words.score(own.mean)
    return f"{words.score(own.mean)} ± {words.score(own.deviation)}"


def _row(study: Study, row: Row) -> Cells:
    held = [run.memory for run in row.runs if run.memory is not None]
    taken = [run.seconds for run in row.runs if run.seconds is not None]
    return {
        **_named(study, row),
        "tasks": len(row.first.scores),
        **_summary(row.means()),
        **_difference(study, row),
        "parameters": row.first.parameters["trainable"],
        "seconds": fmean(taken) if taken else None,
        "memory": max(held, default=None),
    }


def _named(study: Study, row: Row) -> Cells:
    return {"number": study.number(row), "row": row.name}


def _run(run: Run) -> Cells:
    named: Cells = {"seed": run.seed, "folder": str(run.folder)}
    return {**named, "mean": run.mean, "seconds": run.seconds, "memory": run.memory}


def _summary(values: Mapping[int, float]) -> Cells:
    own = summary([*values.values()])
    assert own is not None, "a row has runs"
    spread = {"deviation": own.deviation, "low": own.low, "high": own.high}
    return {"seeds": own.count, "mean": own.mean, **spread}


def _difference(study: Study, row: Row, task: str | None = None) -> Cells:
    """Return the paired difference to the baseline, unknown where the two cannot be compared."""
    own: Summary | None = None
    tasks = study.common if task is None else [task] if _shared(study, row, task) else []
    if tasks and row is not study.baseline:
        own = paired(row.means(tasks), study.baseline.means(tasks))
    if own is None:
        return {column.name: None for column in CHANGE}
    ends = {"difference_low": own.low, "difference_high": own.high}
    return {"pairs": own.count, "difference": own.mean, **ends}


def _shared(study: Study, row: Row, task: str) -> bool:
    return row.metrics[task] == study.baseline.metrics.get(task)


def _together(curves: Sequence[Curve]) -> list[tuple[int, float]]:
    """Return the mean of some curves at the steps that all of them have."""
    found = [dict(curve) for curve in curves]
    steps = [step for step in found[0] if all(step in other for other in found)]
    return [(step, fmean(curve[step] for curve in found)) for step in steps]


def _thin(curve: Curve) -> Iterator[tuple[int, float]]:
    """Yield the means of windows of a curve, each at the window's last step."""
    width = math.ceil(len(curve) / POINTS) or 1
    for begin in range(0, len(curve), width):
        window = curve[begin : begin + width]
        yield window[-1][0], fmean(value for _, value in window)
