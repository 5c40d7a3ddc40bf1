"""Gathers what is wrong with the rows of files: each kind of fault once a file, and its count."""

from __future__ import annotations

from pathlib import Path

from mtlora_core.errors import DataError

from .lines import place


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
