"""Nested mappings by dotted keys, and what is not the same in two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Change = tuple[str, Any, Any]
"""A dotted key, and what stands there before and now; None where nothing does."""


def flat(
    values: Mapping[str, Any], path: str = "", *, separator: str = "."
) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a mapping, mappings entered and lists not, by keys that are joined."""
    for key, value in values.items():
        here = f"{path}{separator}{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from flat(value, here, separator=separator)
        else:
            yield here, value


def changes(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[Change]:
    """Yield every entry that is not the same, mappings entered, in the order of their keys."""
    for key in dict.fromkeys((*before, *now)):
        here = f"{path}.{key}" if path else str(key)
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, here)
        elif old != new:
            yield here, old, new
