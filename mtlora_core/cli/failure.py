"""How a command fails: each problem on its own line, and the exit status it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

import typer

from ..errors import MtloraError
from . import messages
from .events import write

P = ParamSpec("P")
R = TypeVar("R")

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""


def reporting(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: a failure that is the caller's to mend becomes lines and an exit status.

    Any other exception passes, with its traceback. A command's own ``json`` argument asks for
    the failure as an event on standard output too.
    """

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except MtloraError as error:
            fail(error.problems, error.status, json=bool(kwargs.get("json")))

    return wrapped


def fail(problems: Iterable[str], status: int, *, json: bool = False) -> NoReturn:
    """Print the problems and leave with ``status``."""
    lines = [*problems]
    if json:
        write({"event": "error", "status": status, "problems": lines})
    messages.problems(lines)
    raise typer.Exit(status)
