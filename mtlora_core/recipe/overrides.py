"""Changes to a recipe from the command line: ``--set router.groups=4``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from .edits import edit_of, read_value
from .merge import is_part, merged, normalized, updated
from .node import Keys, Node, Position


@dataclass(frozen=True)
class Override:
    """One change."""

    at: Position
    """Where it was written."""
    keys: tuple[str, ...]
    value: Node

    def apply(self, root: Node) -> Node:
        """Return the recipe with the change in it.

        Raises:
            RecipeError: its keys lead nowhere.
        """
        return normalized(_assigned(root, self.keys, self, ()))


def read_override(text: str, folder: Path) -> Override:
    """Read one ``a.b=c``; the value is YAML, or an edit of a list such as ``+c``.

    Raises:
        RecipeError: it has another form, or its value is not YAML.
    """
    key, equals, value = text.partition("=")
    at = Position(f"--set {text}")
    if not equals:
        raise RecipeError(f"{at}: write a key, '=' and a value, such as --set train.epochs=1")
    return Override(at, keys_of(key, at), read_value(value, at, folder))


def keys_of(dotted: str, at: Position) -> tuple[str, ...]:
    """Return the keys of ``router.groups``.

    Raises:
        RecipeError: one of them is empty.
    """
    keys = tuple(dotted.strip().split("."))
    if not all(keys):
        raise RecipeError(f"{at}: {dotted!r} is no key; write one such as train.epochs")
    return keys


def _assigned(node: Node, rest: tuple[str, ...], change: Override, keys: Keys) -> Node:
    if not rest:
        return _replaced(node, change, keys)
    if rest == ("use",) and is_part(keys):
        return merged(node, Node({"use": change.value}, change.at), keys)
    if isinstance(node.value, list):
        return _in_list(node, rest, change, keys)
    if node.entries is None and node.value is not None:
        raise RecipeError(f"{change.at}: {_dotted(keys)} is {node.value!r}, which has no keys")
    child = (node.entries or {}).get(rest[0], Node(None, change.at))
    entry = _assigned(child, rest[1:], change, (*keys, rest[0]))
    return updated(node, {rest[0]: entry}, keys)


def _replaced(node: Node, change: Override, keys: Keys) -> Node:
    value = change.value
    # Only where a list stands: elsewhere a text may well begin with a sign.
    if keys == ("regularizers",) or isinstance(node.value, list):
        edit = edit_of(value)
        if edit is not None:
            return edit.apply(node, _dotted(keys), change.at)
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
