"""The source files of a standard library."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtlora_core.errors import DataError

LEFT_OUT = frozenset(
    {
        "__pycache__",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "tkinter",
    }
)
"""Tests, large applications, other people's, or gone in later Pythons."""


@dataclass(frozen=True)
class Source:
    """A file of the library and the name it is imported by."""

    module: str
    path: Path


def stdlib() -> Path:
    """Return the folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def sources(root: Path) -> list[Source]:
    """Return the library's source files in the order of their module names.

    Raises:
        DataError: there are none; some distributions ship compiled files only.
    """
    found = sorted(_found(root), key=lambda source: source.module)
    if not found:
        raise DataError(
            f"{root}: no Python source files, so the `docstrings` tasks have no text: this Python "
            "ships without the sources of its standard library. Use a Python that has them (from "
            "python.org, uv or conda), or your own data with `use: files`"
        )
    return found


def _found(root: Path) -> Iterator[Source]:
    for folder, inside, files in os.walk(root):
        inside[:] = filter(_wanted, inside)  # what is left out is not walked: it may be large
        for file in map(Path(folder).joinpath, files):
            if file.suffix == ".py" and _wanted(file.stem):
                parts = file.relative_to(root).with_suffix("").parts
                yield Source(".".join(parts).removesuffix(".__init__"), file)


def _wanted(name: str) -> bool:
    return name not in LEFT_OUT and not name.startswith("turtle")
