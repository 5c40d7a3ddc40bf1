"""Writing files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import TrainingError


def write(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside it, and rename it when it is whole.

    Raises:
        TrainingError: the system refused, such as for want of room; what was there is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(refusal(path, error)) from error


def append(path: Path, line: str) -> None:
    """Add a line to a file.

    Raises:
        TrainingError: the system refused.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise TrainingError(refusal(path, error)) from error


def refusal(path: Path, error: OSError) -> str:
    """Return one line that says which file could not be written, and why."""
    return f"{path}: cannot be written: {error.strerror or error}; make room and resume the run"
