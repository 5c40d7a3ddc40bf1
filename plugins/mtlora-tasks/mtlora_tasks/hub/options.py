"""Options of the ``hub`` tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mtlora_core.options import located

from ..files.entries import EntriesOptions, Problem
from ..files.entry import Names, NamesOrShare, TaskEntry, TaskKeys
from ..files.paths import missing


def _with_folder(value: Any) -> Any:
    """Return a path that looks like one as absolute; names of the hub as they are."""
    is_path = isinstance(value, str) and value.startswith((".", "~", "/"))
    return str(located(value)) if is_path else value


class Defaults(TaskKeys):
    """What an entry may say of its task, or ``defaults`` of all tasks."""

    path: Annotated[str, BeforeValidator(_with_folder), Field(min_length=1)] | None = None
    """A dataset's name on the hub, such as ``stanfordnlp/sst2``, or a folder that holds one, such
    as ``./data``, relative to the recipe's file. ``{name}`` stands for the task's name."""
    config: str | None = None
    """Which part of a dataset that has several, such as ``cola`` of ``nyu-mll/glue``; ``{name}``
    stands for the task's name."""
    revision: str | None = None
    """Branch, tag or commit of the dataset."""
    train: Names = ("train",)
    """A split of the dataset, or a list of splits."""
    validation: NamesOrShare | None = None
    """A split to choose by, or the share of the training rows that is set aside for it; null: the
    split ``validation``, ``valid``, ``val`` or ``dev`` where there is one, or a tenth."""
    test: NamesOrShare | None = None
    """A split to score by, once, or the share of the training rows that is set aside for it; null:
    the split ``test`` where there is one, or a tenth."""


class Entry(Defaults, TaskEntry):
    """One task, or with ``task_column`` and no name, one for each value of the column."""


class HubOptions(EntriesOptions[Defaults, Entry]):
    """Options of the ``hub`` tasks."""

    defaults: Defaults = Defaults()
    """What holds for every entry that does not say otherwise."""

    def source_problems(self, entry: Entry) -> Iterator[Problem]:
        """Yield what is wrong with an entry's dataset, as far as this machine can tell."""
        if entry.path is None:
            yield "path", "no dataset is named; write its name on the hub, such as stanfordnlp/sst2"
        elif Path(entry.path).is_absolute() and (reason := missing(Path(entry.named(entry.path)))):
            yield "path", reason
        for key in ("path", "config"):
            if entry.name is None and "{name}" in (getattr(entry, key) or ""):
                yield key, "{name} stands for the entry's name, and this entry has none"

    def is_of_pictures(self, entry: Entry) -> bool:
        """Whether an entry has a column of pictures."""
        return entry.image is not None
