"""Events as JSON lines on standard output, for programs that read the command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer

from ..files import json_line

Event = Mapping[str, Any]
"""What happened, by the key ``event``, and its figures."""
Show = Callable[[Event], None]
"""What is done with each event as it comes."""


def write(event: Event) -> None:
    """Print one event as a line of JSON, at once: a reader may be waiting."""
    typer.echo(json_line(event, ascii_only=True))
