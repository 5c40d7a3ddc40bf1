"""From a table to rows with labels, by the entry's objective."""

from __future__ import annotations

from pathlib import Path

import datasets

from .causal import causal_rows
from .entry import TaskEntry
from .faults import Faults
from .labels import labelled
from .row import Row
from .rows import rows_of


def table_rows(path: Path, table: datasets.Dataset, entry: TaskEntry, faults: Faults) -> list[Row]:
    """Return the entry's rows of a table; those that cannot be used are noted.

    Args:
        path: Where the table is from; pictures that are named are relative to its folder.
        table: What it holds.
        entry: Which columns are read, and as what.
        faults: Where rows are noted.

    Raises:
        DataError: the table has not the columns.
    """
    if entry.objective == "causal":
        return causal_rows(path, table, entry, faults)
    return labelled(rows_of(path, table, entry, faults), entry, faults)
