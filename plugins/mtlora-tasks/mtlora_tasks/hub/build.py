"""Builds the ``hub`` tasks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import datasets

from mtlora_core.errors import DataError
from mtlora_core.tasks import Split, TaskData

from ..files.columns import Columns
from ..files.faults import Faults, each
from ..files.row import Row
from ..files.table import table_rows
from ..files.tasks import build_entries
from .load import Dataset, load
from .options import Entry, HubOptions

USUAL: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
"""What datasets call their splits, the first first."""


def build_hub(options: HubOptions, *, seed: int) -> list[TaskData]:
    """Return the tasks of the entries, in their order.

    Raises:
        DataError: what is wrong with the options and the datasets, all at once.
    """
    if found := options.faults():
        raise DataError(f"tasks.{where}: {reason}" for where, reason in found)
    hub = _Hub()
    return build_entries(each(options.entries, hub.with_labels), hub.rows, seed)


class _Hub:
    """Reads the entries' datasets, each once: entries may share them."""

    def __init__(self) -> None:
        self.load = cache(load)
        self.tables: dict[tuple[str | None, ...], Columns] = {}

    def with_labels(self, entry: Entry) -> Entry:
        """Return an entry with the classes that its dataset names, where it names none itself."""
        if entry.objective != "classification" or entry.labels is not None:
            return entry
        splits = self._dataset(entry)
        columns = [splits[name].features for name in entry.sources("train") if name in splits]
        named = [each.get(entry.label) for each in columns]
        classes = [each.names for each in named if isinstance(each, datasets.ClassLabel)]
        return entry.model_copy(update={"labels": tuple(classes[0])}) if classes else entry

    def rows(self, entry: Entry, split: Split, faults: Faults) -> list[Row]:
        """Return an entry's rows of a split.

        Raises:
            DataError: the dataset has not the split, or the split not the columns.
        """
        splits = self._dataset(entry)
        names = self._names(entry, split, splits)
        if absent := [name for name in names if name not in splits]:
            there = ", ".join(splits)
            raise DataError(f"{_title(entry)}: has no split {absent[0]!r}; its splits are {there}")
        tables = each(names, lambda name: table_rows(self._table(entry, name), entry, faults))
        return [row for rows in tables for row in rows]

    def _dataset(self, entry: Entry) -> Dataset:
        return self.load(*_source(entry))

    def _table(self, entry: Entry, split: str) -> Columns:
        key = (*_source(entry), split)
        if key not in self.tables:
            self.tables[key] = Columns(_place(entry, split), self._dataset(entry)[split])
        return self.tables[key]

    def _names(self, entry: Entry, split: Split, splits: Dataset) -> tuple[str, ...]:
        if getattr(entry, split) is not None:
            return entry.sources(split)
        return tuple(name for name in USUAL[split] if name in splits)[:1]


def _source(entry: Entry) -> tuple[str, str | None, str | None]:
    """Return an entry's dataset, as it is loaded by."""
    config = None if entry.config is None else entry.named(entry.config)
    return entry.named(entry.path or ""), config, entry.revision


def _title(entry: Entry) -> str:
    config = "" if entry.config is None else f", {entry.named(entry.config)}"
    return f"{entry.named(entry.path or '')}{config}"


def _place(entry: Entry, split: str) -> Path:
    """Return what stands before a row's number in messages, in the place of a file."""
    return Path(f"{_title(entry)}, {split}")
