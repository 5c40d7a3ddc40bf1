"""Events as JSON lines on standard output, for programs that read the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

Event = Mapping[str, Any]
"""What happened, by the key ``event``, and its figures."""
Show = Callable[[Event], None]
"""What is done with each event as it comes."""


def write(event: Event) -> None:
    """Print one event as a line of JSON, at once: a reader may be waiting."""
    typer.echo(json.dumps(plain(event), allow_nan=False))


def plain(value: Any) -> Any:
    """Return ``value`` as JSON knows it: NaN and infinity, which it lacks, become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
