"""Changes to a recipe from the command line: ``--set router.groups=4``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from .merge import is_part, merged, normalized, updated
from .node import Keys, Node, Position
from .text import read_yaml


@dataclass(frozen=True)
class Override:
    """One change."""

    text: str
    """As it was written, without ``--set``."""
    keys: tuple[str, ...]
    value: Node

    @property
    def at(self) -> Position:
        """Its place in messages."""
        return Position(f"--set {self.text}")

    def apply(self, root: Node) -> Node:
        """Return the recipe with the change in it.

        Raises:
            RecipeError: its keys lead nowhere.
        """
        return normalized(_assigned(root, self.keys, self, ()))


def read_override(text: str, folder: Path) -> Override:
    """Read one ``a.b=c``; the value is YAML.

    Raises:
        RecipeError: it has another form, or its value is not YAML.
    """
    key, equals, value = text.partition("=")
    keys = tuple(key.strip().split("."))
    at = Position(f"--set {text}")
    if not equals or not all(keys):
        raise RecipeError(f"{at}: write a key, '=' and a value, such as --set train.epochs=1")
    node = read_yaml(value, lambda line, column: at, folder)
    return Override(text, keys, node or Node(None, at))


def _assigned(node: Node, rest: tuple[str, ...], change: Override, keys: Keys) -> Node:
    if not rest:
        return _replaced(node, change.value, keys)
    if rest == ("use",) and is_part(keys):
        return merged(node, Node({"use": change.value}, change.at), keys)
    if isinstance(node.value, list):
        return _in_list(node, rest, change, keys)
    if node.entries is None and node.value is not None:
        raise RecipeError(f"{change.at}: {_dotted(keys)} is {node.value!r}, which has no keys")
    child = (node.entries or {}).get(rest[0], Node(None, change.at))
    entry = _assigned(child, rest[1:], change, (*keys, rest[0]))
    return updated(node, {rest[0]: entry}, keys)


def _replaced(node: Node, value: Node, keys: Keys) -> Node:
    if is_part(keys) and isinstance(value.value, str):
        return merged(node, Node({"use": value}, value.at), keys)
    return value


def _in_list(node: Node, rest: tuple[str, ...], change: Override, keys: Keys) -> Node:
    items: list[Node] = list(node.value)
    if not rest[0].isdecimal() or int(rest[0]) >= len(items):
        raise RecipeError(
            f"{change.at}: {_dotted(keys)} is a list of {len(items)}, counted from 0; "
            f"it has no {rest[0]!r}"
        )
    index = int(rest[0])
    items[index] = _assigned(items[index], rest[1:], change, (*keys, index))
    return Node(items, node.at)


def _dotted(keys: Keys) -> str:
    return ".".join(map(str, keys)) or "the recipe"
