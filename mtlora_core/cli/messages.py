"""Lines on standard error: what a person should know, never wrapped, so that it can be searched."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import typer

from .events import write


def notes(lines: Iterable[str], *, json: bool = False) -> None:
    """Print what ``resolve`` noticed: options dropped, parts that rarely do well together."""
    for line in lines:
        if json:
            write({"event": "note", "text": line})
        say("note: ", line, colour=typer.colors.YELLOW)


def problems(lines: Iterable[str]) -> None:
    """Print what was wrong, a problem a line."""
    for line in lines:
        say("mtlora: ", line, colour=typer.colors.RED)


def say(prefix: str, line: str, *, colour: str) -> None:
    """Print a line on standard error; its prefix is coloured on a terminal."""
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    typer.echo((prefix if plain else typer.style(prefix, fg=colour, bold=True)) + line, err=True)
