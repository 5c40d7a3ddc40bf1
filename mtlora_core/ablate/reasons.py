"""Why the process of a cell failed, in one line."""

from __future__ import annotations

import signal
from pathlib import Path

OWN = "mtlora: "
"""How the command begins a line that says what is wrong."""


def reason_of(log: Path, start: int, status: int) -> str:
    """Return the problems that a process printed, or the last line it did, or how it ended.

    Args:
        log: What the process printed.
        start: Bytes of the log that are of earlier processes.
        status: Of the process; negative for the signal that ended it.
    """
    lines = _lines(log, start)
    problems = [line.removeprefix(OWN) for line in lines if line.startswith(OWN)]
    how = _ended(status)
    if problems:
        return "; ".join(problems)
    return f"{how}: {lines[-1].strip()}" if lines else how


def _lines(log: Path, start: int) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    lack = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f"was ended by signal {name}{lack}"
