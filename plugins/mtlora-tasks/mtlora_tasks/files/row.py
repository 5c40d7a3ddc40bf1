"""A row of a task's data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlora_core.inputs import Input


@dataclass(frozen=True)
class Row:
    """A row that has what its task reads."""

    path: Path
    """The file, or of pictures in folders the folder."""
    index: int
    """Its place in the file or folder, from 0."""
    task: str | None
    """The value of the task column, where there is one."""
    input: Input
    label: Any
    """As it was read; later the name of a class, a number, or an answer."""
    options: tuple[str, ...] = ()
    """The answers that this row may be answered with, where rows have their own."""
