"""The rows of a file, with the columns that a task reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mtlora_core.errors import DataError
from mtlora_core.inputs import Input

from .columns import Columns
from .entry import TaskEntry
from .faults import Faults
from .images import picture_of, wrong_picture
from .row import Row

NO_TASK = "column {!r} names no task"
"""Of a row without a value in the task column."""


def rows_of(table: Columns, entry: TaskEntry, faults: Faults) -> list[Row]:
    """Return the entry's rows of a file; those that lack an input or a task are noted.

    Raises:
        DataError: the file has not the columns.
    """
    path = table.path
    check_columns(path, (*entry.columns, entry.label, *entry.task_columns), table.names)
    columns = [table.values(name) for name in entry.columns]
    labels, tasks = table.values(entry.label), table.tasks(entry)
    rows = ((index, tasks[index], [c[index] for c in columns]) for index in table.rows(entry))
    return [
        Row(path, index, task, _input(values, entry, path.parent), labels[index])
        for index, task, values in rows
        if _is_whole(path, index, task, values, entry, faults)
    ]


def _input(values: Sequence[Any], entry: TaskEntry, folder: Path) -> Input:
    if entry.image is not None:
        return picture_of(values[0], folder)
    return values[0] if len(values) == 1 else (values[0], values[1])


def check_columns(path: Path, wanted: Sequence[str], names: Sequence[str]) -> None:
    """Check that a file has the columns that are wanted.

    Raises:
        DataError: it has not, with the nearest name and those it has.
    """
    if missing := [column for column in dict.fromkeys(wanted) if column not in names]:
        raise DataError(f"{path}: {_absent(column, names)}" for column in missing)


def _absent(column: str, names: Sequence[str]) -> str:
    near = get_close_matches(column, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"has no column {column!r}; {hint}the columns are {', '.join(names)}"


def _is_whole(
    path: Path,
    index: int,
    task: str | None,
    values: Sequence[Any],
    entry: TaskEntry,
    faults: Faults,
) -> bool:
    problems = [*_problems(values, entry, path.parent)]
    if entry.task_column is not None and task is None:
        problems.append((NO_TASK.format(entry.task_column), None))
    for what, value in problems:
        faults.add(path, index, what, value)
    return not problems


def _problems(
    values: Sequence[Any], entry: TaskEntry, folder: Path
) -> Iterator[tuple[str, object]]:
    for column, value in zip(entry.columns, values, strict=True):
        if entry.image is not None:
            yield from wrong_picture(column, value, folder)
        else:
            yield from _wrong_text(column, value)


def _wrong_text(column: str, value: object) -> Iterator[tuple[str, object]]:
    if value is None:
        yield f"column {column!r} has no text", None
    elif not isinstance(value, str):
        yield f"column {column!r} has {{}}, which is no text", value
    elif not value.strip():
        yield f"column {column!r} has an empty text", value
