"""From the rows of an entry to its tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from mtlora_core.errors import DataError
from mtlora_core.tasks import SPLITS, Example, Split, Task, TaskData

from .causal import check_answers, shared_options
from .entry import TaskEntry
from .faults import Faults, each
from .labels import are_indices, by_index, by_name, vocabulary
from .row import Row
from .splits import Rows, cut

E = TypeVar("E", bound=TaskEntry)
RowsFor = Callable[[E, Split, Faults], list[Row]]
"""Reads an entry's rows of a split, none where nothing is there; what is wrong with a row is noted.

Raises DataError where they cannot be read at all.
"""


def build_entries(entries: Sequence[E], rows_for: RowsFor[E], seed: int) -> list[TaskData]:
    """Return the tasks of entries, in their order.

    Raises:
        DataError: what is wrong with the data, all at once.
    """
    tasks = each(entries, lambda entry: _tasks(entry, rows_for, seed))
    together = [task for some in tasks for task in some]
    if twice := list(_twice(together)):
        raise DataError(twice)
    return together


def _twice(tasks: list[TaskData]) -> Iterator[str]:
    for name, count in Counter(data.task.name for data in tasks).items():
        if count > 1:
            yield f"tasks: {count} tasks are named {name!r}; give each entry of a file its name"


def _tasks(entry: E, rows_for: RowsFor[E], seed: int) -> list[TaskData]:
    faults = Faults()
    try:
        found = each(SPLITS, lambda split: rows_for(entry, split, faults))
    except DataError as error:
        raise DataError([*error.problems, *faults.lines()]) from error
    faults.check()
    named = _by_name(entry, dict(zip(SPLITS, found, strict=True)))
    return each(named, lambda name: _task(entry, name, named[name], seed))


def _by_name(entry: TaskEntry, rows: Rows) -> Mapping[str, Rows]:
    """Return the rows of each of an entry's tasks, which its training rows name."""
    if entry.name is not None:
        return {entry.name: rows}
    names = sorted({row.task for row in rows["train"] if row.task is not None})
    named: dict[str, dict[Split, list[Row]]] = {
        name: {split: [] for split in SPLITS} for name in names
    }
    for split, some in rows.items():
        for row in some:
            if row.task in named:
                named[row.task][split].append(row)
    return named


def _task(entry: TaskEntry, name: str, rows: Rows, seed: int) -> TaskData:
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


def _check_filled(entry: TaskEntry, name: str, rows: Rows) -> None:
    column = "" if entry.task_column is None else f" with {name!r} in column {entry.task_column!r}"
    if empty := [split for split in SPLITS if entry.sources(split) and not rows[split]]:
        raise DataError(f"task {name!r}: the {split} files have no rows{column}" for split in empty)


def _spelt(entry: TaskEntry, labels: tuple[str, ...], rows: Rows) -> Rows:
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


def _data(entry: TaskEntry, name: str, labels: tuple[str, ...], splits: Rows) -> TaskData:
    task = Task(
        name,
        objective=entry.objective,
        labels=labels,
        metric=entry.metric_or_default,
        weight=entry.weight,
        class_weights=_class_weights(entry, name, labels, splits["train"]),
        max_length=entry.max_length,
        asking=entry.asking if entry.objective == "causal" else None,
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
    entry: TaskEntry, name: str, labels: tuple[str, ...], train: list[Row]
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
