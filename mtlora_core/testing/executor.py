"""What every executor promises: output and status of a command, and an end when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..component import Component, load
from ..execution import Executor, Job, Running

PATIENCE = 300.0
"""Seconds until a job has to be where it should be; a cluster's own may need some to begin."""


def check_executor(component: Component, options: Mapping[str, Any], folder: Path) -> None:
    """Assert that an executor keeps its contract, with jobs of a second or so.

    Args:
        component: The executor's description.
        options: As an ablation writes them.
        folder: An empty folder that jobs can write to.
    """
    model = load(component.options)
    build = load(component.build)
    executor: Executor = build(model.model_validate(options), jobs=2, folder=folder / "own")
    assert isinstance(executor, Executor), f"{component.build} returns no Executor"
    assert isinstance(executor.on_this_machine, bool), "on_this_machine is true or false"
    _check_output_and_status(executor, folder)
    _check_side_by_side(executor, folder)
    for stop in ("interrupt", "kill"):
        _check_stops(executor, folder, stop)


def _check_output_and_status(executor: Executor, folder: Path) -> None:
    log = folder / "said.log"
    log.write_text("before\n")
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    running = executor.start(Job("says", [sys.executable, "-c", code], log))
    assert _ended(running) == 3, f"the status of a command that exits with 3 is {running.status()}"
    assert running.status() == 3, "a status stays what it is"
    said = log.read_text("utf-8").splitlines()
    assert said[0] == "before", "output is added to the log, what is in it stays"
    assert {"out", "err"} <= set(said), f"output and errors go to the log, which has {said}"
    running.interrupt()
    running.kill()
    assert running.status() == 3, "stopping what has ended does nothing"


def _check_side_by_side(executor: Executor, folder: Path) -> None:
    meeting = folder / "meeting"
    meeting.mkdir()
    # Each waits for the other: one after the other, neither would end.
    code = (
        "import pathlib, sys, time\nhere = pathlib.Path(sys.argv[1])\n"
        "(here / sys.argv[2]).touch()\n"
        "while len(list(here.iterdir())) < 2: time.sleep(0.05)"
    )
    pair = [
        executor.start(
            Job(
                f"meets-{i}",
                [sys.executable, "-c", code, str(meeting), str(i)],
                folder / f"{i}.log",
            )
        )
        for i in range(2)
    ]
    assert [_ended(each) for each in pair] == [0, 0], "two jobs run side by side, and end well"


def _check_stops(executor: Executor, folder: Path, stop: str) -> None:
    begun = folder / f"{stop}.begun"
    code = "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(600)"
    job = Job(stop, [sys.executable, "-c", code, str(begun)], folder / f"{stop}.log")
    running = executor.start(job)
    _wait(begun.exists, f"the job to be {stop}ed never began")
    assert running.status() is None, "a job that goes on has no status"
    getattr(running, stop)()
    assert _ended(running) != 0, f"a job that was stopped by {stop} has not ended well"


def _ended(running: Running) -> int | None:
    _wait(lambda: running.status() is not None, f"no status after {PATIENCE:.0f} seconds")
    return running.status()


def _wait(done: Callable[[], bool], complaint: str) -> None:
    until = monotonic() + PATIENCE
    while not done():
        assert monotonic() < until, complaint
        sleep(0.05)
