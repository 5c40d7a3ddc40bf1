"""From a table to rows with labels, by the entry's objective."""

from __future__ import annotations

from .causal import causal_rows
from .columns import Columns
from .entry import TaskEntry
from .faults import Faults
from .labels import labelled
from .row import Row
from .rows import rows_of


def table_rows(table: Columns, entry: TaskEntry, faults: Faults) -> list[Row]:
    """Return the entry's rows of a table; those that cannot be used are noted.

    Args:
        table: Its columns.
        entry: Which columns are read, and as what.
        faults: Where rows are noted.

    Raises:
        DataError: the table has not the columns.
    """
    if entry.objective == "causal":
        return causal_rows(table, entry, faults)
    return labelled(rows_of(table, entry, faults), entry, faults)
