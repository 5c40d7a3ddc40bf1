"""What is not the same in two mappings, by dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Change = tuple[str, Any, Any]
"""A dotted key, and what stands there before and now; None where nothing does."""


def changes(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[Change]:
    """Yield every entry that is not the same, mappings entered, in the order of their keys."""
    for key in dict.fromkeys((*before, *now)):
        here = f"{path}.{key}" if path else str(key)
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, here)
        elif old != new:
            yield here, old, new
