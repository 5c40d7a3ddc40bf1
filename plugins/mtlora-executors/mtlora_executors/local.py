"""Jobs as processes of this machine."""

from __future__ import annotations

from pathlib import Path

from mtlora_core.execution import Executor, Processes, threads_each

from .options import LocalOptions


def build_local(options: LocalOptions, *, jobs: int, folder: Path) -> Executor:
    """Return the processes of this machine, which share its cores."""
    return Processes(options.threads or threads_each(jobs))
