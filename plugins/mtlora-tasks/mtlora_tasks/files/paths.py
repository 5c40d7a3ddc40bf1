"""The data files that an entry names, and what keeps one from being read. Reads no data."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".npz")
"""Formats, told by the end of a file's name."""
PICTURES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
"""Ends of the names of pictures; a folder may hold other files beside them."""


def form(path: Path) -> str:
    """Return a file's format, as the end of its name in lower case."""
    return path.suffix.lower()


def unusable(path: Path) -> str | None:
    """Return why a path is no data file, with the nearest that is there; None if it is one."""
    if reason := missing(path):
        return reason
    if path.is_dir():
        return _unusable_folder(path)
    if form(path) not in SUFFIXES:
        return f"{path} ends in {path.suffix!r}; the formats are {', '.join(SUFFIXES)}"
    return None


def holds_pictures(path: Path) -> bool:
    """Whether a file or folder holds pictures and nothing else."""
    return path.is_dir() or form(path) == ".npz"


def class_folders(path: Path) -> list[Path]:
    """Return the sub-folders of a folder of pictures, one a class, by name."""
    return sorted(child for child in path.iterdir() if child.is_dir() and _shown(child))


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures in a class's folder and below, by path."""
    return sorted(p for p in folder.rglob("*") if form(p) in PICTURES and _shown(p))


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")


def _unusable_folder(path: Path) -> str | None:
    if not class_folders(path):
        return (
            f"{path} is a folder; name a file in it, or a folder with a sub-folder of pictures for "
            f"each class{_listed(path)}"
        )
    empty = [folder.name for folder in class_folders(path) if not pictures_in(folder)]
    if empty:
        return f"{path / empty[0]} holds no pictures; known are {', '.join(sorted(PICTURES))}"
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
