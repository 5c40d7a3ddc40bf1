"""Commands in processes of their own: what an executor promises, and this machine's own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Job:
    """A command to be run."""

    name: str
    """For people, such as in a queue's listing."""
    command: Sequence[str]
    """A program and its arguments; paths among them are absolute."""
    log: Path
    """Where its output and errors are added; the folder is there."""
    resuming: Sequence[str] = ()
    """The command that goes on with what an earlier start has left; empty where there is none."""
    left: Path | None = None
    """A file that is there as soon as a start has left something to go on with."""

    def due(self) -> Sequence[str]:
        """Return what is to be run now, in the place where it runs.

        Who begins a job a second time, as a cluster does that took its node away, runs this.
        """
        begun = self.left is not None and self.left.exists()
        return self.resuming if self.resuming and begun else self.command


class Running(Protocol):
    """A job that was handed over, waiting or running."""

    def status(self) -> int | None:
        """Return the command's exit status, None while it has none; never wait."""
        ...

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C would; return at once. After its end this does nothing."""
        ...

    def kill(self) -> None:
        """End it now. After its end this does nothing."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs jobs, at once or when their turn comes."""

    on_this_machine: bool
    """Whether jobs run here, beside each other, and so share this machine's devices."""

    def start(self, job: Job) -> Running:
        """Hand over a job; return without waiting for it.

        Raises:
            MtloraError: it cannot be taken.
        """
        ...


class BuildExecutor(Protocol):
    """Builds an executor; what a component of kind ``executor`` names under ``build``."""

    def __call__(self, options: Any, *, jobs: int, folder: Path) -> Executor:
        """Return an executor.

        Args:
            options: Validated, of the component's options.
            jobs: How many jobs there will be at most at one time.
            folder: Where it may keep files of its own; made by who needs it.
        """
        ...


class Processes:
    """Runs every job as a process of this machine.

    Args:
        threads: How many threads of computation each may have, by ``OMP_NUM_THREADS``; None
            leaves that to the environment.
    """

    on_this_machine = True

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads

    def start(self, job: Job) -> Running:
        """Start a process, in a session of its own: Ctrl-C reaches it only through us."""
        own = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        with job.log.open("ab") as log, hearing_interrupts():
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **own},
                start_new_session=True,
            )
        return _Process(process)


@contextmanager
def hearing_interrupts() -> Iterator[None]:
    """Let processes that are started inside be interrupted.

    A process hands on that it ignores interrupts, as one does that ``nohup mtlora ablate … &``
    started; a job's asking to end would not be heard. Nothing changes outside the main thread.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def threads_each(jobs: int) -> int | None:
    """Return a job's share of this machine's cores; None where the environment has decided."""
    if "OMP_NUM_THREADS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // jobs)


class _Process:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def status(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
