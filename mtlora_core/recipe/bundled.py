"""Recipes that come with the project or with a plugin, found by name without importing anything."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "mtlora"
"""The entry-point group by which plugins are found."""


def bundled_recipes() -> dict[str, list[Path]]:
    """Return the bundled recipes by name; more than one path where packages share a name."""
    found: dict[str, list[Path]] = {}
    for folder in dict.fromkeys(_folders()):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, []).append(path)
    return found


def _folders() -> Iterator[Path]:
    core = Path(__file__).parents[1]
    # A wheel carries the examples inside the package; a checkout has them beside it.
    inside = core / "examples"
    yield inside if inside.is_dir() else core.parent / "examples"
    for entry in entry_points(group=GROUP):
        for location in _locations(entry.module.partition(".")[0]):
            yield Path(location) / "recipes"


def _locations(package: str) -> list[str]:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # what an entry point names need not exist
        return []
    return list(spec.submodule_search_locations or []) if spec else []
