"""A recipe while it is put together: plain values that remember where they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from ..errors import RecipeError
from ..options import RecipeText

Keys = tuple[str | int, ...]
"""The way to a value: ``("regularizers", 0, "weight")``."""

DEPTH = 32
"""How deep a recipe may nest: several times what any needs, and far from Python's own limit."""


@dataclass(frozen=True)
class Position:
    """Where a value was written: its key's place where it has a key. Counted from 1."""

    file: str
    """A file as the user would name it, or ``--set router.groups=2``."""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Node:
    """A value with its position. Entries of mappings and lists are nodes themselves."""

    value: Any
    """A mapping of nodes, a list of nodes, or a scalar."""
    at: Position | None = None
    """None where a recipe was given as a mapping, which has no lines."""
    carried: frozenset[str] = frozenset()
    """In a part: the options that were written for another ``use``."""

    @property
    def entries(self) -> Mapping[str, Node] | None:
        """The entries of a mapping, or None for another value."""
        return self.value if isinstance(self.value, dict) else None

    def plain(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [entry.plain() for entry in self.value]
        return self.value


def node_of(value: Any, folder: Path, depth: int = 0) -> Node:
    """Turn a plain value, as a caller in Python gives it, into nodes without positions.

    Args:
        value: Mappings, sequences and scalars.
        folder: What relative paths in it are relative to.
        depth: How many mappings and lists it stands in.

    Raises:
        RecipeError: it nests too deeply, or a key is no text.
    """
    if depth > DEPTH:
        raise RecipeError(f"the recipe nests more than {DEPTH} levels deep")
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise RecipeError(f"a key of a recipe must be text, not {odd[0]!r}")
        return Node({key: node_of(entry, folder, depth + 1) for key, entry in value.items()})
    if isinstance(value, (list, tuple)):
        return Node([node_of(entry, folder, depth + 1) for entry in value])
    if isinstance(value, (str, PurePath)) and not isinstance(value, RecipeText):
        return Node(RecipeText(str(value), folder))
    return Node(value)


@dataclass(frozen=True)
class Places:
    """Where each value of a finished recipe was written.

    Two of them always compare equal: where a recipe was written is no part of what it says.
    """

    table: Mapping[Keys, Position] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, root: Node) -> Places:
        """Collect the positions of every value under ``root``."""
        table: dict[Keys, Position] = {}
        _collect(root, (), table)
        return cls(table)

    def where(self, *keys: str | int) -> str:
        """Return ``recipe.yaml:7:14: router.groups``; without a place of its own, its owner's."""
        dotted = ".".join(map(str, keys))
        for end in range(len(keys), -1, -1):
            position = self.table.get(keys[:end])
            if position is not None:
                return f"{position}: {dotted}" if dotted else str(position)
        return dotted or "the recipe"


def _collect(node: Node, keys: Keys, table: dict[Keys, Position]) -> None:
    if node.at is not None:
        table[keys] = node.at
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            _collect(entry, (*keys, key), table)
    elif isinstance(node.value, list):
        for index, entry in enumerate(node.value):
            _collect(entry, (*keys, index), table)
