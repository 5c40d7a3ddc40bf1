"""Cells are run, several at a time, each in a process of its own that anything may happen to."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from ..errors import MtloraError
from ..execution import Executor, Job, Running
from ..history import History, history_of, state_of
from .cells import Cell
from .folder import AblationFolder
from .reasons import reason_of

Event = dict[str, Any]

TICK = 0.2
"""Seconds between two looks at what is running."""
LOOK = 2.0
"""Seconds between two looks at what another process runs, and between two tellings of progress."""
PATIENCE = 30.0
"""Seconds until the last line of a run that went well has to show on a slow file system."""
GRACE = 15.0
"""Seconds that interrupted processes have to end in."""


@dataclass
class _Active:
    """A cell that was handed to the executor."""

    cell: Cell
    place: int
    running: Running
    claim: ExitStack
    history: History
    log_size: int
    """Bytes of the log that are of earlier processes."""
    ended: float | None = None


@dataclass
class Schedule:
    """Runs cells and remembers what became of them.

    A cell that another process runs, a second call of the command on this folder or a process
    that outlived the one that started it, is left to that one and looked at again until it is
    finished or free.
    """

    home: AblationFolder
    executor: Executor
    devices: Sequence[str | None]
    """A device for each place; there are as many places as cells may run at a time."""
    deadline: float | None = None
    """When no further cell is begun, on the clock of ``time.monotonic``."""
    extra: Sequence[str] = ()
    """Arguments that every process is given."""

    finished: set[str] = field(default_factory=set)
    """Names of cells."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why cells failed, by their names."""
    left: list[Cell] = field(default_factory=list)
    """Cells that there was no time to begin."""

    def run(self, cells: Sequence[Cell]) -> Generator[Event, None, None]:
        """Run what is not finished; yield an event for whatever becomes of a cell.

        Cells of one name run once. When this is closed or interrupted, so are the processes.
        """
        self._active: list[_Active] = []
        self._next_look: dict[str, float] = {}
        self._waiting = list({cell.name: cell for cell in cells}.values())
        for cell in [each for each in self._waiting if self._is_finished(each)]:
            yield self._done(cell, again=True)
        told = 0.0
        try:
            while self._waiting or self._active:
                yield from self._fill()
                yield from self._collect()
                if self._late() and not self._active:
                    break
                if self._active and monotonic() - told > LOOK:
                    told = monotonic()
                    yield self._progress()
                sleep(TICK if self._waiting or self._active else 0)
        finally:
            _stop([each.running for each in self._active])
            for each in self._active:
                each.claim.close()
        self.left += self._waiting

    def _late(self) -> bool:
        return self.deadline is not None and monotonic() >= self.deadline

    def _is_finished(self, cell: Cell) -> bool:
        return state_of(self.home.run(cell)) == "finished"

    def _fill(self) -> Iterator[Event]:
        """Begin cells while there are places and time."""
        for cell in list(self._waiting):
            if len(self._active) == len(self.devices) or self._late():
                return
            if monotonic() < self._next_look.get(cell.name, 0.0):
                continue
            if self._is_finished(cell):
                yield self._done(cell, again=True)
            elif (holder := self.home.held_by(cell)) is not None:
                yield from self._left_to(cell, holder)
            else:
                yield from self._begin(cell)

    def _left_to(self, cell: Cell, holder: str) -> Iterator[Event]:
        if cell.name not in self._next_look:
            yield _told(cell, "elsewhere", by=holder)
        self._next_look[cell.name] = monotonic() + LOOK

    def _begin(self, cell: Cell) -> Iterator[Event]:
        claim = ExitStack()
        if not claim.enter_context(self.home.claimed(cell)):
            return  # another process was quicker, which the next look shows
        if self._is_finished(cell):
            claim.close()
            yield self._done(cell, again=True)
            return
        self._waiting.remove(cell)
        try:
            event = self._start(cell, claim)
        except MtloraError as error:
            claim.close()
            event = self._failure(cell, "; ".join(error.problems))
        except BaseException:  # Ctrl-C, for one, which is not to leave a claim behind
            claim.close()
            raise
        yield event

    def _start(self, cell: Cell, claim: ExitStack) -> Event:
        resumes = self.home.ready(cell)
        place = min({*range(len(self.devices))} - {each.place for each in self._active})
        log = self.home.log(cell)
        size = log.stat().st_size if log.exists() else 0
        running = self.executor.start(self._job(cell, resumes, self.devices[place]))
        history = History(self.home.run(cell).metrics)
        self._active.append(_Active(cell, place, running, claim, history, size))
        return _told(cell, "resumed" if resumes else "started", device=self.devices[place])

    def _job(self, cell: Cell, resumes: bool, device: str | None) -> Job:
        """Return what runs a cell; what is in its run folder is of its recipe, as both are named.

        A run folder has its lock last of what a resumed run reads.
        """
        return Job(
            cell.name,
            self._command(cell, resumes, device),
            self.home.log(cell).absolute(),
            resuming=self._command(cell, True, device),
            left=self.home.run(cell).lock.absolute(),
        )

    def _command(self, cell: Cell, resumes: bool, device: str | None) -> list[str]:
        """Return what runs a cell: the command, in a fresh process, whatever its folder."""
        # -P: a file of the working folder is no module of ours.
        run = str(self.home.run(cell).path.absolute())
        recipe = str(self.home.recipe(cell).absolute())
        what = ["--resume", run] if resumes else [recipe, "--out", run]
        on = [] if device is None else ["--device", device]
        python = [sys.executable, "-P", "-m", "mtlora_core"]
        return [*python, "compose", *what, *on, "--quiet", *self.extra]

    def _collect(self) -> Iterator[Event]:
        """Tell what became of the processes that have ended."""
        for each in list(self._active):
            status = each.running.status()
            if status is None:
                continue
            each.ended = each.ended or monotonic()
            done = each.history.update().finished is not None
            if done or status != 0 or monotonic() - each.ended > PATIENCE:
                self._active.remove(each)
                each.claim.close()
                yield self._done(each.cell) if done else self._unfinished(each, status)

    def _done(self, cell: Cell, *, again: bool = False) -> Event:
        if cell in self._waiting:
            self._waiting.remove(cell)
        self.finished.add(cell.name)
        return _told(cell, "finished", again=again, **_scores(cell, self.home))

    def _unfinished(self, each: _Active, status: int) -> Event:
        holder = self.home.run(each.cell).held_by()
        if holder is not None:  # an orphan of another call, which began before ours did
            self._waiting.append(each.cell)
            self._next_look[each.cell.name] = monotonic() + LOOK
            return _told(each.cell, "elsewhere", by=holder)
        return self._failure(each.cell, reason_of(self.home.log(each.cell), each.log_size, status))

    def _failure(self, cell: Cell, reason: str) -> Event:
        self.failed[cell.name] = reason
        return _told(cell, "failed", reason=reason)

    def _progress(self) -> Event:
        return {"event": "progress", "cells": [_progress_of(each) for each in self._active]}


def _told(cell: Cell, state: str, **more: Any) -> Event:
    return {"event": "cell", **_names(cell), "state": state, **more}


def _scores(cell: Cell, home: AblationFolder) -> Event:
    """Return what is worth telling of a finished cell; of a tuning run that is not its test."""
    history = history_of(home.run(cell))
    assert history.finished is not None, "the cell was just seen to be finished"
    if cell.tuning:
        return {"validation": history.validation(cell.plan.recipe.train.keep)}
    return {"test": history.finished["mean"]["model"]}


def _names(cell: Cell) -> Event:
    return {"cell": cell.name, "row": cell.row, "seed": cell.seed, "tuning": cell.tuning}


def _progress_of(each: _Active) -> Event:
    history = each.history.update()
    return {
        **_names(each.cell),
        "step": history.step,
        "steps": history.steps,
        "validation": history.curve[-1][1] if history.curve else None,
        "loss": history.last.get("loss"),
        "seconds_left": history.last.get("seconds_left"),
    }


def _stop(running: Sequence[Running]) -> None:
    """Ask processes to end, and end those that do not; a second Ctrl-C does not wait for them."""
    try:
        for each in running:
            each.interrupt()
        until = monotonic() + GRACE
        while monotonic() < until and any(each.status() is None for each in running):
            sleep(TICK)
    finally:
        for each in running:
            if each.status() is None:
                each.kill()
