"""Jobs as processes of this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtlora_core.execution as execution
from mtlora_core.component import Component
from mtlora_core.execution import Executor, Job, Processes, Running, threads_each
from mtlora_core.options import Options
from mtlora_core.testing import check_executor


class NoOptions(Options):
    """None."""


def build(options: NoOptions, *, jobs: int, folder: Path) -> Executor:
    """Return the core's own."""
    return Processes(1)


def build_forgetful(options: NoOptions, *, jobs: int, folder: Path) -> Executor:
    """Return an executor that starts the log anew."""
    return Forgetful()


def build_patient(options: NoOptions, *, jobs: int, folder: Path) -> Executor:
    """Return an executor that waits for each job."""
    return Patient()


class Forgetful(Processes):
    """Writes over what other processes have said."""

    def start(self, job: Job) -> Running:
        """Empty the log first."""
        job.log.unlink(missing_ok=True)
        return super().start(job)


class Patient(Processes):
    """Waits for a job before the next; gives up soon, for the test."""

    def start(self, job: Job) -> Running:
        """Wait for its end."""
        running = super().start(job)
        process = running._process  # type: ignore[attr-defined]  # ours
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            running.kill()
        return running


@pytest.fixture
def deaf() -> Iterator[None]:
    """Ignore interrupts, as a process does that ``nohup … &`` started."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, before)


def component(build: str) -> Component:
    return Component("executor", "own", f"{__name__}:NoOptions", f"{__name__}:{build}", "processes")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_processes_keep_the_contract_of_an_executor(tmp_path: Path) -> None:
    check_executor(component("build"), {}, tmp_path)


@pytest.mark.usefixtures("deaf")
def test_jobs_hear_an_interrupt_where_this_process_does_not(tmp_path: Path) -> None:
    check_executor(component("build"), {}, tmp_path)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        ("build_forgetful", "output is added to the log"),
        ("build_patient", "two jobs run side by side"),
    ],
)
def test_the_contract_tells_executors_that_break_it(
    tmp_path: Path, build: str, complaint: str
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_executor(component(build), {}, tmp_path)


def test_a_process_has_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert [threads_each(jobs) for jobs in (1, 2, 4, 9)] == [6, 3, 1, 1]

    code = "import os; print(os.environ['OMP_NUM_THREADS'])"
    running = Processes(threads_each(2)).start(
        Job("threads", [sys.executable, "-c", code], tmp_path / "log")
    )
    while running.status() is None:
        pass

    assert (tmp_path / "log").read_text() == "3\n"


def test_what_the_environment_says_of_threads_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")

    assert threads_each(2) is None
    assert execution.Processes(threads_each(2)).threads is None
