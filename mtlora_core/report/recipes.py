"""What differs between recipes, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..changes import flat

APART = ("name", "seed")
"""Keys that tell runs apart without making them different methods."""


def differing(recipes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each recipe the entries that are not the same in all, by dotted keys.

    None stands where a recipe has no such entry. Name and seed are left out.
    """
    entries = [dict(flat(recipe)) for recipe in recipes]
    keys = [key for key in dict.fromkeys(key for own in entries for key in own) if key not in APART]
    told = [key for key in keys if any(own.get(key) != entries[0].get(key) for own in entries)]
    return [{key: _short(key, own.get(key)) for key in told} for own in entries]


def phrase(value: Any) -> str:
    """Return a recipe's value as people say it: ``spectral-aware (weight 1.0)``, ``q, v``."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(phrase, value)) or "none"
    if isinstance(value, Mapping):
        return _entry(value)
    return str(value)


def _entry(value: Mapping[str, Any]) -> str:
    head = _short("use", value["use"]) if "use" in value else value.get("name")
    rest = {key: v for key, v in value.items() if key not in ("use", "name") and v is not None}
    told = ", ".join(f"{key} {phrase(entry)}" for key, entry in rest.items())
    if head is None:
        return told
    return f"{phrase(head)} ({told})" if told and "use" in value else phrase(head)


def _short(key: str, value: Any) -> Any:
    """Return the name of a part without its package; every other value as it is."""
    named = key.rpartition(".")[2] == "use" and isinstance(value, str)
    return value.rpartition("/")[2] if named else value
