"""The figures of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from . import tables, words
from .figure import Figure
from .forest import data, forest, small
from .plot import Dot, Plot, Series
from .scene import Panel
from .study import Study
from .table import Cells, Column, Table

INTERVAL = "the line through it its 95 % interval over seeds"


def figures(study: Study) -> Iterator[Figure]:
    """Yield the figures that a study has something to show in."""
    yield _scores(study)
    yield from _differences(study)
    yield _tasks(study)
    yield from _validation(study)
    yield from _loss(study)
    yield from _against_parameters(study)
    yield from _against_tasks(study)


def _scores(study: Study) -> Figure:
    table = _part(tables.rows(study), "scores", ("number", "row", "mean", "low", "high"))
    return Figure(
        "Mean over tasks",
        f"Further right is better: a mark is a row's mean over tasks and seeds, {INTERVAL}; an "
        "arrow at its end says that it goes on beyond the axis.",
        table,
        [forest(data(table.lines, "mean", "low", "high", words.score))],
    )


def _differences(study: Study) -> Iterator[Figure]:
    names = ("number", "row", "pairs", "difference", "difference_low", "difference_high")
    whole = _part(tables.rows(study), "differences", names)
    known = [line for line in whole.lines if line["difference"] is not None]
    if known:
        yield Figure(
            f"Difference to {study.baseline.name}",
            "A row whose interval lies right of the dashed line at 0 is better than the baseline, "
            "left of it worse, and one that crosses it is not told apart from it.",
            Table(whole.name, whole.columns, known),
            [forest(data(known, "difference", *names[-2:], words.change), zero=True)],
        )


def _tasks(study: Study) -> Figure:
    table = tables.tasks(study)
    panels = [
        small(data([*lines], "mean", "low", "high", words.score), task, metric)
        for (task, metric), lines in groupby(table.lines, _task_of)
    ]
    return Figure(
        "Each task",
        f"A panel is a task, with an axis of its own; a mark is a row's mean over seeds, {INTERVAL}"
        "; further right is better.",
        table,
        panels,
        columns=3,
        keyed=True,
    )


def _validation(study: Study) -> Iterator[Figure]:
    yield from _curves(
        tables.validation(study),
        "mean",
        "Learning: validation",
        "A line that is higher earlier learns faster, and one that comes down again overfits; "
        "a mark is the mean over tasks on the validation split, and over a row's seeds.",
        "validation mean",
    )


def _loss(study: Study) -> Iterator[Figure]:
    yield from _curves(
        tables.loss(study),
        "loss",
        "Learning: loss",
        "A line that falls learns; a mark is the mean training loss of the steps since the "
        "mark before, over a row's seeds.",
        "training loss",
    )


def _curves(table: Table, column: str, title: str, reading: str, up: str) -> Iterator[Figure]:
    """Yield the figure of a column over steps; none without a line."""
    if table.lines:
        plot = Plot("step", up, joined=True, counts=True)
        yield Figure(
            title, reading, table, [plot.panel(_series(table, "step", column))], keyed=True
        )


def _against_parameters(study: Study) -> Iterator[Figure]:
    names = ("number", "row", "parameters", "mean", "low", "high")
    table = _part(tables.rows(study), "parameters", names)
    sizes = [line["parameters"] for line in table.lines]
    if len(set(sizes)) > 1:
        plot = Plot("trained parameters (log scale)", "mean", logarithmic=True)
        yield Figure(
            "Mean against parameters",
            f"Up is better and left is smaller; a mark is a row by its number, {INTERVAL}.",
            table,
            [plot.panel(_series(table, "parameters", "mean", interval=True))],
            keyed=True,
        )


def _against_tasks(study: Study) -> Iterator[Figure]:
    table = tables.growth(study)
    if len({line["tasks"] for line in table.lines}) > 1:
        yield Figure(
            "Mean against the number of tasks",
            "Over its own tasks a row also falls because the added ones are harder; over the tasks "
            "that all rows have it falls by what learning the others costs: a mark is a row by its "
            f"number, {INTERVAL}, and a line joins rows of one recipe.",
            table,
            [_growth(study, table, over) for over in dict.fromkeys(map(_over, table.lines))],
            columns=2,
            keyed=True,
        )


def _growth(study: Study, table: Table, over: str) -> Panel:
    lines = [line for line in table.lines if _over(line) == over]
    series = _series(Table(table.name, table.columns, lines), "tasks", "mean", interval=True)
    paths = [[series[study.number(row) - 1][0] for row in rows] for rows in study.growing]
    return Plot("tasks", "mean", counts=True).panel(series, f"Mean over {over}", paths)


def _over(line: Cells) -> str:
    return str(line["over"])


def _task_of(line: Cells) -> tuple[str, str]:
    return str(line["task"]), str(line["metric"])


def _part(table: Table, name: str, columns: Sequence[str]) -> Table:
    """Return a table's columns of some names, as a table of another name."""
    by_name: dict[str, Column] = {column.name: column for column in table.columns}
    lines = [{key: line[key] for key in columns} for line in table.lines]
    return Table(name, [by_name[key] for key in columns], lines)


def _series(table: Table, x: str, y: str, *, interval: bool = False) -> Series:
    by_name = {column.name: column for column in table.columns}

    def dot(line: Cells) -> Dot:
        title = f"{line['row']}: {by_name[x].show(line)} {x}, {by_name[y].show(line)}"
        place = float(line[x] or 0), float(line[y] or 0)
        ends = (line["low"], line["high"], str(line["number"])) if interval else ()
        return Dot(*place, title, *ends)

    found: dict[int, list[Dot]] = {}
    for line in table.lines:
        found.setdefault(int(line["number"] or 0) - 1, []).append(dot(line))
    return found
