"""Builds the ``files`` tasks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mtlora_core.errors import DataError
from mtlora_core.tasks import Split, TaskData

from .arrays import read_arrays
from .columns import Columns
from .faults import Faults, each
from .images import folder_rows
from .labels import labelled
from .options import Entry, FilesOptions
from .paths import form
from .read import read
from .row import Row
from .table import table_rows
from .tasks import build_entries


def build_files(options: FilesOptions, *, seed: int) -> list[TaskData]:
    """Return the tasks of the entries, in their order.

    Raises:
        DataError: what is wrong with the options and the files, all at once.
    """
    if found := options.faults():
        raise DataError(f"tasks.{where}: {reason}" for where, reason in found)
    return build_entries(options.entries, _Files(options).rows, seed)


class _Files:
    """Reads the entries' files, each once: entries may share them."""

    def __init__(self, options: FilesOptions) -> None:
        self.options = options
        self.table = cache(lambda path, field: Columns(path, read(path, field)))
        self.arrays = cache(read_arrays)

    def rows(self, entry: Entry, split: Split, faults: Faults) -> list[Row]:
        """Return an entry's rows of a split.

        Raises:
            DataError: a file cannot be read.
        """
        paths = map(self.options.path, self._files(entry, split))
        files = each(paths, lambda path: self._rows_in(path, entry, split, faults))
        return [row for rows in files for row in rows]

    def _files(self, entry: Entry, split: Split) -> tuple[str, ...]:
        if getattr(entry, split) is not None:
            return entry.sources(split)
        return tuple(file for file in entry.sources("train") if self._is_split(file))

    def _is_split(self, file: str) -> bool:
        path = self.options.path(file)
        return form(path) == ".npz" and self.arrays(path).split is not None

    def _rows_in(self, path: Path, entry: Entry, split: Split, faults: Faults) -> list[Row]:
        if path.is_dir():
            return labelled(folder_rows(path, faults), entry, faults)
        if form(path) == ".npz":
            return labelled(self.arrays(path).rows(split), entry, faults)
        return table_rows(self.table(path, entry.field), entry, faults)
