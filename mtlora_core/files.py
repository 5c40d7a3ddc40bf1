"""Writing files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import MtloraError, TrainingError


def write(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside it, and rename it when it is whole.

    Raises:
        TrainingError: there is no room; what was there is untouched.
        MtloraError: the system refused for another reason, such as a folder that is not there.
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
        raise refused(path, error) from error


def append(path: Path, line: str) -> None:
    """Add a line to a file.

    Raises:
        TrainingError: there is no room.
        MtloraError: the system refused for another reason.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> MtloraError:
    """Return what to raise where ``path`` could not be written."""
    line = f"{path}: cannot be written: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO):
        return TrainingError(f"{line}; make room, then go on: mtlora compose --resume RUN")
    return MtloraError(line)


def json_line(value: Any, *, ascii_only: bool = False) -> str:
    """Return a value as one line of JSON, which has neither NaN nor infinity: they become null."""
    return json.dumps(_plain(value), ensure_ascii=ascii_only, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
