"""Layers of a recipe become one: mappings merge, lists replace, parts may change their ``use``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..options import RecipeText
from .node import Keys, Node

PARTS = ("backbone", "placement", "experts", "router", "tasks")
"""The keys of a recipe that hold one part; ``regularizers`` holds a list of them."""

_RIVALS = {"epochs": "steps", "steps": "epochs"}
"""Of ``train``: a layer that writes one means it instead of the other."""


def is_part(keys: Keys) -> bool:
    """Whether a part stands at ``keys``."""
    match keys:
        case (str(kind),):
            return kind in PARTS
        case ("regularizers", int()):
            return True
    return False


def normalized(root: Node) -> Node:
    """Write every part that is named alone, ``router: token``, as ``router: {use: token}``."""
    if root.entries is None:
        return root
    entries = {
        key: _normal_list(entry) if key == "regularizers" else _normal_part(entry, (key,))
        for key, entry in root.entries.items()
    }
    return replace(root, value=entries)


def _normal_list(node: Node) -> Node:
    if not isinstance(node.value, list):
        return node
    parts = [_normal_part(entry, ("regularizers", i)) for i, entry in enumerate(node.value)]
    return replace(node, value=parts)


def _normal_part(node: Node, keys: Keys) -> Node:
    if is_part(keys) and isinstance(node.value, RecipeText):
        return Node({"use": node}, node.at)
    return node


def merged(base: Node, over: Node, keys: Keys = ()) -> Node:
    """Lay one normalized recipe over another.

    ``null`` stands for what it replaces: it ends up absent, or None where an option takes None.

    Args:
        base: The recipe that is extended.
        over: The one that extends it.
        keys: Where both stand.
    """
    if base.entries is None or over.entries is None:
        return over
    if is_part(keys) and _changes_use(base.entries, over.entries):
        return _swapped(base, over)
    entries = {
        key: merged(base.entries[key], entry, (*keys, key)) if key in base.entries else entry
        for key, entry in over.entries.items()
    }
    return replace(updated(base, entries, keys), at=over.at)


def updated(base: Node, entries: Mapping[str, Node], keys: Keys) -> Node:
    """Return the mapping ``base``, which stands at ``keys``, with ``entries`` in it."""
    rivals = {_RIVALS.get(key) for key in entries} if keys == ("train",) else set()
    kept = {key: entry for key, entry in (base.entries or {}).items() if key not in rivals}
    return Node({**kept, **entries}, base.at, base.carried - entries.keys())


def _changes_use(base: Mapping[str, Node], over: Mapping[str, Node]) -> bool:
    return "use" in over and "use" in base and over["use"].value != base["use"].value


def _swapped(base: Node, over: Node) -> Node:
    # Options of one name in two parts share no structure: the new part's replace, never merge.
    before, after = base.entries or {}, over.entries or {}
    carried = frozenset(before.keys() - after.keys() - {"use"})
    return Node({**before, **after}, over.at, carried)
