"""The columns of a table, for all tasks that read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import datasets

from .entry import TaskEntry
from .images import column_of


class Columns:
    """The columns of a table, each turned into values once, however many tasks read it.

    Args:
        path: Where the table is from; pictures that are named are relative to its folder.
        table: What it holds.
    """

    def __init__(self, path: Path, table: datasets.Dataset) -> None:
        self.path = path
        self.names: Sequence[str] = table.column_names
        self.count = len(table)
        self.values = cache(partial(column_of, table))
        self._named = cache(self._tasks_in)
        self._grouped = cache(self._rows_by_task)

    def tasks(self, entry: TaskEntry) -> Sequence[str | None]:
        """Return the value of each row's task column, None where there is none."""
        return self._named(entry.task_column)

    def rows(self, entry: TaskEntry) -> Sequence[int]:
        """Return the places of an entry's rows, and of those that name no task."""
        if entry.name is None or entry.task_column is None:
            return range(self.count)
        grouped = self._grouped(entry.task_column)
        return sorted([*grouped.get(entry.name, ()), *grouped.get(None, ())])

    def _tasks_in(self, column: str | None) -> Sequence[str | None]:
        if column is None:
            return [None] * self.count
        return [None if value in (None, "") else str(value) for value in self.values(column)]

    def _rows_by_task(self, column: str) -> Mapping[str | None, Sequence[int]]:
        grouped: dict[str | None, list[int]] = {}
        for index, task in enumerate(self._named(column)):
            grouped.setdefault(task, []).append(index)
        return grouped
