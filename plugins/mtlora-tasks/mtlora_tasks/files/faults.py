"""Gathers what is wrong with rows: each kind of fault once a file, and its count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from mtlora_core.errors import DataError

from .lines import place

In = TypeVar("In")
Out = TypeVar("Out")


class Faults:
    """The faults of rows that were found so far."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Path, str], list[tuple[int, str]]] = {}

    def add(self, path: Path, row: int, what: str, found: object = "") -> None:
        """Note that a row, counted from 0, is wrong; ``{}`` in ``what`` stands for ``found``."""
        self._rows.setdefault((path, what), []).append((row, what.replace("{}", repr(found))))

    def lines(self) -> list[str]:
        """Return a line for each kind of fault of each file."""
        return [_line(path, rows) for (path, _), rows in self._rows.items()]

    def check(self) -> None:
        """Raise what was found.

        Raises:
            DataError: there is any fault.
        """
        if lines := self.lines():
            raise DataError(lines)


def _line(path: Path, rows: list[tuple[int, str]]) -> str:
    (first, text), more = rows[0], len(rows) - 1
    return f"{place(path, first)}: {text}" + (f" (and {more} more such rows)" if more else "")


def each(items: Iterable[In], make: Callable[[In], Out]) -> list[Out]:
    """Make something of every item, and only then raise what was wrong with any.

    Raises:
        DataError: every problem, each once.
    """
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
