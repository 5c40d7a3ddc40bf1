"""Turns the labels of rows into names of classes, or into numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from mtlora_core.prompts import spelt

from .entry import TaskEntry
from .faults import Faults
from .lines import json_type
from .row import Row


def labelled(rows: Sequence[Row], entry: TaskEntry, faults: Faults) -> list[Row]:
    """Return the rows with labels of the entry's objective; rows with other labels are noted."""
    return (as_numbers if entry.objective == "regression" else as_names)(rows, faults)


def as_numbers(rows: Sequence[Row], faults: Faults) -> list[Row]:
    """Return the rows with numbers for labels; rows with other labels are noted."""
    return [replace(row, label=number) for row in rows for number in _number(row, faults)]


def as_names(rows: Sequence[Row], faults: Faults) -> list[Row]:
    """Return the rows with names of classes for labels; rows with other labels are noted."""
    _note_mixed(rows, faults)
    return [replace(row, label=name) for row in rows for name in _name(row, faults)]


def vocabulary(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the distinct names in order: whole numbers by value, others as text."""
    distinct = {row.label for row in rows}
    if all(map(_is_index, distinct)):
        return tuple(sorted(distinct, key=int))
    return tuple(sorted(distinct))


def are_indices(rows: Sequence[Row], labels: Sequence[str]) -> bool:
    """Whether labels are indices of ``labels``: whole numbers, of which it names none."""
    found = {row.label for row in rows}
    return all(map(_is_index, found)) and not found & set(labels)


def by_index(rows: Sequence[Row], labels: Sequence[str], faults: Faults) -> list[Row]:
    """Return the rows with the names that their labels are indices of."""
    named = []
    for row in rows:
        if int(row.label) < len(labels):
            named.append(replace(row, label=labels[int(row.label)]))
        else:
            what = f"label {{}} is no index of `labels`, which go from 0 to {len(labels) - 1}"
            faults.add(row.path, row.index, what, int(row.label))
    return named


def by_name(rows: Sequence[Row], labels: Sequence[str], faults: Faults) -> list[Row]:
    """Return the rows whose label is one of ``labels``; others are noted."""
    for row in rows:
        if row.label not in labels:
            near = get_close_matches(row.label, labels, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            what = f"label {{}} is none of `labels`; {hint}they are {', '.join(labels)}"
            faults.add(row.path, row.index, what, row.label)
    return [row for row in rows if row.label in labels]


def _number(row: Row, faults: Faults) -> Iterator[float]:
    number = _finite(row.label)
    if number is not None:
        yield number
    elif not _is_empty(row, faults):
        faults.add(row.path, row.index, "label {} is no number; regression needs one", row.label)


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _name(row: Row, faults: Faults) -> Iterator[str]:
    if name := spelt(row.label):
        yield name
    elif not _is_empty(row, faults):
        what = "label {} is no class; write `objective: regression` to predict numbers"
        faults.add(row.path, row.index, what, row.label)


def _is_empty(row: Row, faults: Faults) -> bool:
    if row.label is not None and row.label != "":
        return False
    faults.add(row.path, row.index, "the label is empty")
    return True


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name


def _note_mixed(rows: Sequence[Row], faults: Faults) -> None:
    """Note the rows of a file whose label is of another type than its first."""
    types: dict[Path, str] = {}
    for row in rows:
        if row.label is not None:
            here = json_type(row.label)
            first = types.setdefault(row.path, here)
            if here != first:
                what = f"label {{}} is {here}, where the file's first label is {first}"
                faults.add(row.path, row.index, what, row.label)
