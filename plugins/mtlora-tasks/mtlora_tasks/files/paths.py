"""The data files that an entry names, and what keeps one from being read. Reads no data."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Formats, told by the end of a file's name."""


def form(path: Path) -> str:
    """Return a file's format, as the end of its name in lower case."""
    return path.suffix.lower()


def unusable(path: Path) -> str | None:
    """Return why a path is no data file, with the nearest that is there; None if it is one."""
    if reason := missing(path):
        return reason
    if path.is_dir():
        return f"{path} is a folder; name a file in it{_listed(path)}"
    if form(path) not in SUFFIXES:
        return f"{path} ends in {path.suffix!r}; the formats are {', '.join(SUFFIXES)}"
    return None


def missing(path: Path) -> str | None:
    """Return from which folder on a path is wrong, with the nearest name; None if it is there."""
    if path.exists():
        return None
    if not path.parent.is_dir():
        return missing(path.parent) or f"{path.parent} is no folder"
    names = sorted(child.name for child in path.parent.iterdir())
    near = get_close_matches(path.name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else _listed(path.parent)
    return f"there is no {path}{hint}"


def _listed(folder: Path) -> str:
    names = sorted(child.name for child in folder.iterdir())
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"; {folder} holds {shown or 'nothing'}"
