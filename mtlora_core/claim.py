"""A claim on a file: one process at a time, over as soon as that process is, however it ends."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import IO

if sys.platform != "win32":
    import fcntl

PATIENCE = 3
"""How often a claim is tried: another process that looks who holds it is in the way for a blink."""


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim ``path`` while the block runs; give whether it was free.

    The system itself drops the lock of a process that is gone, so a file that a kill left behind
    claims nothing. It says who made it, for people. Where the system or its file system has no
    such locks, every claim is granted.
    """
    file = _locked(path)
    try:
        if file is not None:
            file.truncate()
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
        yield file is not None
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # before the lock goes: what is unlinked is nobody's claim
            file.close()


def holder(path: Path) -> str | None:
    """Return who claims ``path``, such as ``process 7 on lab``; None where nobody does."""
    try:
        # Only to read: who holds it may be another user, and a shared lock asks for no more.
        with path.open(encoding="utf-8") as file:
            return None if _lock(file, shared=True) else file.read() or "another process"
    except OSError:
        return None


def _locked(path: Path) -> IO[str] | None:
    for _ in range(PATIENCE):
        file = path.open("a+", encoding="utf-8")
        if _lock(file) and _is(file, path):
            file.seek(0)
            return file
        file.close()
        sleep(0.02)
    return None


def _lock(file: IO[str], *, shared: bool = False) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the one at ``path``, not one that was just unlinked."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
