"""Builds the ``files`` tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import datasets

from mtlora_core.errors import DataError
from mtlora_core.tasks import SPLITS, Example, Objective, Split, Task, TaskData

from .causal import causal_rows, check_answers, shared_options
from .faults import Faults
from .labels import are_indices, as_names, as_numbers, by_index, by_name, vocabulary
from .options import Entry, FilesOptions
from .read import read
from .rows import Row, rows_of
from .splits import Rows, cut

Read = Callable[[Path, str | None], datasets.Dataset]
In = TypeVar("In")
Out = TypeVar("Out")


def build_files(options: FilesOptions, *, seed: int) -> list[TaskData]:
    """Return the tasks of the entries, in their order.

    Raises:
        DataError: what is wrong with the options and the files, all at once.
    """
    if found := options.faults():
        raise DataError(f"tasks.{where}: {reason}" for where, reason in found)
    reading: Read = cache(read)  # entries may share a file
    tasks = _each(options.entries, lambda entry: _tasks(entry, options, reading, seed))
    together = [task for some in tasks for task in some]
    if twice := list(_twice(together)):
        raise DataError(twice)
    return together


def _each(items: Iterable[In], make: Callable[[In], Out]) -> list[Out]:
    """Make something of every item, and only then raise what was wrong with any."""
    made: list[Out] = []
    problems: list[str] = []
    for item in items:
        try:
            made.append(make(item))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(dict.fromkeys(problems))
    return made


def _twice(tasks: list[TaskData]) -> Iterator[str]:
    for name, count in Counter(data.task.name for data in tasks).items():
        if count > 1:
            yield f"tasks: {count} tasks are named {name!r}; give each entry of a file its name"


def _tasks(entry: Entry, options: FilesOptions, reading: Read, seed: int) -> list[TaskData]:
    faults = Faults()

    def rows_in(path: Path) -> list[Row]:
        return READERS[entry.objective](path, reading(path, entry.field), entry, faults)

    def rows_for(split: Split) -> list[Row]:
        files = _each(map(options.path, entry.files(split)), rows_in)
        return [row for rows in files for row in rows]

    try:
        rows = dict(zip(SPLITS, _each(SPLITS, rows_for), strict=True))
    except DataError as error:
        raise DataError([*error.problems, *faults.lines()]) from error
    faults.check()
    return _each(_names(entry, rows), lambda name: _task(entry, name, _only(rows, name), seed))


def _numbered(path: Path, table: datasets.Dataset, entry: Entry, faults: Faults) -> list[Row]:
    return as_numbers(rows_of(path, table, entry, faults), faults)


def _named(path: Path, table: datasets.Dataset, entry: Entry, faults: Faults) -> list[Row]:
    return as_names(rows_of(path, table, entry, faults), faults)


READERS: Mapping[Objective, Callable[[Path, datasets.Dataset, Entry, Faults], list[Row]]] = {
    "classification": _named,
    "regression": _numbered,
    "causal": causal_rows,
}
"""What makes rows of a file's table, by objective."""


def _names(entry: Entry, rows: Rows) -> list[str]:
    if entry.name is not None:
        return [entry.name]
    return sorted({row.task for row in rows["train"] if row.task is not None})


def _only(rows: Rows, name: str) -> Rows:
    return {split: [r for r in some if r.task in (None, name)] for split, some in rows.items()}


def _task(entry: Entry, name: str, rows: Rows, seed: int) -> TaskData:
    _check_filled(entry, name, rows)
    if entry.objective == "regression":
        return _data(entry, name, (), cut(entry, name, rows, seed))
    if entry.objective == "causal":
        options = shared_options(entry, rows)
        check_answers(options, rows)
        return _data(entry, name, options, cut(entry, name, rows, seed))
    labels = entry.labels or vocabulary(rows["train"])
    named = _spelt(entry, labels, rows)
    _check_learnable(name, named)
    return _data(entry, name, labels, cut(entry, name, named, seed))


def _check_filled(entry: Entry, name: str, rows: Rows) -> None:
    column = "" if entry.task_column is None else f" with {name!r} in column {entry.task_column!r}"
    if empty := [split for split in SPLITS if entry.files(split) and not rows[split]]:
        raise DataError(f"task {name!r}: the {split} files have no rows{column}" for split in empty)


def _spelt(entry: Entry, labels: tuple[str, ...], rows: Rows) -> Rows:
    """Return the rows with labels that are names of ``labels``, where those were written."""
    if entry.labels is None:
        return rows
    faults = Faults()
    # One file of indices and one of names are read alike, but one file has one or the other.
    named = {
        split: (by_index if are_indices(some, labels) else by_name)(some, labels, faults)
        for split, some in rows.items()
    }
    faults.check()
    return named


def _check_learnable(name: str, rows: Rows) -> None:
    """Refuse a task with one class, and labels that no training row has."""
    known = {row.label for row in rows["train"]}
    if len(known) < 2:
        raise DataError(f"task {name!r}: every training row has the label {min(known)!r}")
    faults = Faults()
    for row in (*rows["validation"], *rows["test"]):
        if row.label not in known:
            what = f"label {{}} is in no training row of task {name!r}"
            faults.add(row.path, row.index, what, row.label)
    faults.check()


def _data(entry: Entry, name: str, labels: tuple[str, ...], splits: Rows) -> TaskData:
    task = Task(
        name,
        objective=entry.objective,
        labels=labels,
        metric=entry.metric_or_default,
        weight=entry.weight,
        class_weights=_class_weights(entry, name, labels, splits["train"]),
        max_length=entry.max_length,
    )
    classes = labels if entry.objective == "classification" else ()
    indices = {label: index for index, label in enumerate(classes)}

    def examples(split: Split) -> list[Example]:
        return [
            Example(row.input, indices.get(row.label, row.label), row.options)
            for row in splits[split]
        ]

    return TaskData(task, *map(examples, SPLITS))


def _class_weights(
    entry: Entry, name: str, labels: tuple[str, ...], train: list[Row]
) -> tuple[float, ...] | None:
    if entry.class_weights == "balanced":
        counts = Counter(row.label for row in train)
        # A class that `limit` left without examples is never asked for its weight.
        return tuple(len(train) / (len(labels) * max(counts[label], 1)) for label in labels)
    if entry.class_weights is not None and len(entry.class_weights) != len(labels):
        raise DataError(
            f"task {name!r}: class_weights has {len(entry.class_weights)} weights for "
            f"{len(labels)} classes ({', '.join(labels)}); write one for each"
        )
    return entry.class_weights
