"""Options of the ``files`` tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mtlora_core.options import RecipePath
from mtlora_core.tasks import SPLITS

from .entries import EntriesOptions, Problem
from .entry import Names, NamesOrShare, TaskEntry, TaskKeys
from .paths import form, holds_pictures, missing, unusable


class Defaults(TaskKeys):
    """What an entry may say of its task, or ``defaults`` of all tasks."""

    train: Names = ()
    """A file or a list of files, relative to ``root``; ``{name}`` stands for the task's name."""
    validation: NamesOrShare | None = None
    """Files, or the share of the training rows that is set aside to choose by; null: the rows that
    an .npz file marks so itself, or a tenth of the training rows."""
    test: NamesOrShare | None = None
    """Files, or the share of the training rows that is set aside to score by, once; null: as for
    ``validation``."""
    field: str | None = None
    """The key of a JSON file's one object that holds the rows; null: the file is a list of rows,
    or has one a line."""


class Entry(Defaults, TaskEntry):
    """One task, or with ``task_column`` and no name, one for each value of the column."""


class FilesOptions(EntriesOptions[Defaults, Entry]):
    """Options of the ``files`` tasks."""

    defaults: Defaults = Defaults()
    """What holds for every entry that does not say otherwise."""

    root: RecipePath
    """The folder that the entries' files are relative to."""

    def path(self, file: str) -> Path:
        """Return the path of an entry's file."""
        return self.root / Path(file).expanduser()

    def faults(self) -> list[Problem]:
        """Return ``(option, reason)`` for what can be told without reading the data."""
        if reason := missing(self.root):
            return [("root", reason)]
        return super().faults()

    def source_problems(self, entry: Entry) -> Iterable[Problem]:
        """Return what is wrong with an entry's files."""
        if found := [*self._unusable(entry)]:
            return found
        return [*self._odd(entry), *self._mixed(entry)]

    def is_of_pictures(self, entry: Entry) -> bool:
        """Whether an entry has a column of pictures, or files that hold nothing else."""
        return entry.image is not None or any(
            holds_pictures(path) for _, path in self._files(entry)
        )

    def _files(self, entry: Entry) -> Iterator[tuple[str, Path]]:
        for split in SPLITS:
            for file in entry.sources(split):
                yield split, self.path(file)

    def _unusable(self, entry: Entry) -> Iterator[Problem]:
        for split, path in self._files(entry):
            if reason := unusable(path):
                yield split, reason

    def _odd(self, entry: Entry) -> Iterator[Problem]:
        for _, path in self._files(entry):
            if entry.field is not None and form(path) != ".json":
                yield "field", f"only a .json file has fields, and {path.name} is none"
            if entry.task_column is not None and holds_pictures(path):
                yield (
                    "task_column",
                    f"{path} has no columns; leave it out, and give the task a name",
                )

    def _mixed(self, entry: Entry) -> Iterator[Problem]:
        """Yield files of texts beside files of pictures."""
        if entry.image is None and self.is_of_pictures(entry):
            for split, path in self._files(entry):
                if not holds_pictures(path):
                    yield (
                        split,
                        f"{path} holds texts, other files pictures; name the column of an `image`",
                    )
