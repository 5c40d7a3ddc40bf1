"""Edits of a list: ``+balance`` adds an entry to what is there, ``-balance`` takes one out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from ..options import RecipeText
from .node import Node, Position
from .text import read_yaml

_FORM = re.compile(r"([+-])([^\W\d].*|[\[{\"'].*)", re.DOTALL)
"""A sign and what follows it at once: a name or a mapping, never a number or YAML's own ``- a``."""


@dataclass(frozen=True)
class Edit:
    """An entry that is added to a list, or taken out of it."""

    adds: bool
    entry: Node

    def apply(self, target: Node, name: str, at: Position | None) -> Node:
        """Return the list with the edit made. Parts are the same if they ``use`` the same.

        Args:
            target: A list, or nothing yet.
            name: What the list is called in messages.
            at: Where the edit was written.

        Raises:
            RecipeError: the entry is there already, or is not there.
        """
        entries: list[Node] = list(target.value or [])
        others = [each for each in entries if not _same(each, self.entry)]
        if self.adds and len(others) < len(entries):
            raise RecipeError(f"{at}: {name} has {_name(self.entry)!r} already")
        if not self.adds and len(others) == len(entries):
            there = ", ".join(map(_name, entries)) or "nothing"
            raise RecipeError(f"{at}: {name} has no {_name(self.entry)!r}; it has {there}")
        return Node([*entries, self.entry] if self.adds else others, target.at or at)


def read_value(text: str, at: Position, folder: Path) -> Node:
    """Read the value of a change: YAML, or an edit, which is kept as text.

    Raises:
        RecipeError: it is not YAML.
    """
    if _FORM.fullmatch(text.strip()):
        return Node(RecipeText(text.strip(), folder), at)
    return read_yaml(text, lambda line, column: at, folder) or Node(None, at)


def edit_of(value: Node) -> Edit | None:
    """Return the edit that a value spells, or None for any other value."""
    text, at = value.value, value.at or Position("the recipe")
    found = _FORM.fullmatch(text) if isinstance(text, RecipeText) else None
    if found is None:
        return None
    entry = read_yaml(found[2], lambda line, column: at, text.folder)
    return Edit(found[1] == "+", entry or Node(None, at))


def _same(one: Node, other: Node) -> bool:
    mine, theirs = _name(one), _name(other)
    return mine == theirs or ("/" not in theirs and mine.rpartition("/")[2] == theirs)


def _name(entry: Node) -> str:
    use = (entry.entries or {}).get("use", entry)
    return str(use.plain())
