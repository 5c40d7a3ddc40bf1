"""The rows of a file, with the columns that a task reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import datasets

from mtlora_core.errors import DataError
from mtlora_core.inputs import Input, Text

from .faults import Faults
from .options import Entry

NO_TASK = "column {!r} names no task"
"""Of a row without a value in the task column."""


@dataclass(frozen=True)
class Row:
    """A row that has what its task reads."""

    path: Path
    index: int
    """Its place in the file, from 0."""
    task: str | None
    """The value of the task column, where there is one."""
    input: Input
    label: Any
    """As it was read; later the name of a class, a number, or an answer."""
    options: tuple[str, ...] = ()
    """The answers that this row may be answered with, where rows have their own."""


def rows_of(path: Path, table: datasets.Dataset, entry: Entry, faults: Faults) -> list[Row]:
    """Return the entry's rows of a file; those that lack a text or a task are noted.

    Raises:
        DataError: the file has not the columns.
    """
    texts = (entry.text,) if isinstance(entry.text, str) else entry.text
    check_columns(path, (*texts, entry.label, *entry.task_columns), table.column_names)
    rows = (
        Row(path, index, task, _text(values), label)
        for index, (task, label, *values) in enumerate(
            zip(
                tasks_of(table, entry),
                table[entry.label][:],
                *(table[column][:] for column in texts),
                strict=True,
            )
        )
    )
    own = (row for row in rows if entry.takes(row.task))
    return [row for row in own if _is_whole(row, texts, entry, faults)]


def tasks_of(table: datasets.Dataset, entry: Entry) -> list[str | None]:
    """Return the value of each row's task column, where there is one."""
    if entry.task_column is None:
        return [None] * len(table)
    return [None if value in (None, "") else str(value) for value in table[entry.task_column][:]]


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


def _is_whole(row: Row, columns: Sequence[str], entry: Entry, faults: Faults) -> bool:
    values: Any = (row.input,) if len(columns) == 1 else row.input
    problems = [p for pair in zip(columns, values, strict=True) for p in _wrong(*pair)]
    if entry.task_column is not None and row.task is None:
        problems.append((NO_TASK.format(entry.task_column), None))
    for what, value in problems:
        faults.add(row.path, row.index, what, value)
    return not problems


def _wrong(column: str, value: object) -> Iterator[tuple[str, object]]:
    if value is None:
        yield f"column {column!r} has no text", None
    elif not isinstance(value, str):
        yield f"column {column!r} has {{}}, which is no text", value
    elif not value.strip():
        yield f"column {column!r} has an empty text", value


def _text(values: Sequence[str]) -> Text:
    return values[0] if len(values) == 1 else (values[0], values[1])
