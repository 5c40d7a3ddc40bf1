"""What the options of tasks that are listed as entries have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from pydantic import ValidationInfo, field_validator

from mtlora_core.options import Options
from mtlora_core.sites import BackboneShape, Site

from .entry import TaskEntry, TaskKeys

K = TypeVar("K", bound=TaskKeys)
E = TypeVar("E", bound=TaskEntry)
Problem = tuple[str, str]
"""A key, and why it cannot be as it is."""


class EntriesOptions(Options, Generic[K, E]):
    """Base of options that list tasks as entries over defaults."""

    defaults: K
    """What holds for every entry that does not say otherwise."""
    entries: tuple[E, ...]
    """The tasks, each with its ``name`` and any key of ``defaults``; the name alone will do."""

    @field_validator("entries")
    @classmethod
    def _complete(cls, entries: tuple[E, ...], info: ValidationInfo) -> tuple[E, ...]:
        if not entries:
            raise ValueError("there are no tasks; write at least one")
        # Completed here, entries mean the same when the resolved recipe is written and read.
        defaults = info.data.get("defaults", TaskKeys())
        return tuple(entry.over(defaults) for entry in entries)

    @abstractmethod
    def source_problems(self, entry: E) -> Iterable[Problem]:
        """Return ``(key, reason)`` for what is wrong with where an entry's rows are."""

    @abstractmethod
    def is_of_pictures(self, entry: E) -> bool:
        """Whether an entry's rows are pictures, told without reading them."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterable[Problem]:
        """Yield ``(option, reason)`` for entries that cannot be read, or not by this backbone."""
        yield from self.faults()
        yield from self._placed(lambda entry: self._unfit(entry, shape))

    def faults(self) -> list[Problem]:
        """Return ``(option, reason)`` for what can be told without reading the data."""
        return self._placed(
            lambda entry: (*entry.problems(), *self.source_problems(entry), *self._again(entry))
        )

    def _placed(self, problems: Callable[[E], Iterable[Problem]]) -> list[Problem]:
        """Return the problems of every entry where they were written, each once."""
        found = [
            (self._place(index, key), reason)
            for index, entry in enumerate(self.entries)
            for key, reason in problems(entry)
        ]
        return list(dict.fromkeys(found))  # a fault of the defaults is every entry's

    def _place(self, index: int, key: str) -> str:
        """Return where a key was written: in the defaults, if the entry's value is theirs."""
        shared = key in self.defaults.model_fields_set and (
            getattr(self.defaults, key) == getattr(self.entries[index], key)
        )
        return f"defaults.{key}" if shared else f"entries.{index}.{key}"

    def _again(self, entry: E) -> Iterator[Problem]:
        index = next(i for i, each in enumerate(self.entries) if each is entry)
        if entry.name is not None and entry.name in {e.name for e in self.entries[:index]}:
            yield "name", f"another entry is named {entry.name!r} too; a task's name is its own"

    def _unfit(self, entry: E, shape: BackboneShape) -> Iterator[Problem]:
        if entry.objective == "causal" and not shape.causal:
            yield (
                "objective",
                "a causal task needs a causal language model, such as LLaMA, and "
                f"{shape.family} is none; take another backbone or objective",
            )
        elif not any(self.source_problems(entry)):
            yield from self._misread(entry, shape)

    def _misread(self, entry: E, shape: BackboneShape) -> Iterator[Problem]:
        key = "text" if entry.image is None else "image"
        pictures = self.is_of_pictures(entry)
        if pictures and shape.reads == "text":
            yield (
                key,
                f"the task is of pictures, and {shape.family} reads texts; take a backbone "
                "that reads pictures",
            )
        if pictures and entry.max_length is not None:
            yield "max_length", "a picture has no tokens to leave out; leave it out"
        if not pictures and shape.reads == "image":
            yield (
                key,
                f"the task is of texts, and {shape.family} reads pictures; name the column "
                "of an `image`, or take a backbone that reads texts",
            )
