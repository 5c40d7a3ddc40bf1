"""What a run tells of itself in its metrics, while it goes on and after, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from .runfolder import RunFolder

State = Literal["new", "unfinished", "running", "finished"]


class History:
    """The story of a run so far; reads only what is new each time it is asked to.

    Args:
        metrics: The run's ``metrics.jsonl``, which need not be there yet.
    """

    def __init__(self, metrics: Path) -> None:
        self._metrics = metrics
        self._forget()

    def _forget(self) -> None:
        self._read = 0
        self.started: Mapping[str, Any] = {}
        """The last record of a start."""
        self.last: Mapping[str, Any] = {}
        """The record of the last step."""
        self.curve: list[tuple[int, float]] = []
        """Steps and validation means."""
        self.finished: Mapping[str, Any] | None = None
        """The record of the end, with the test scores."""

    @property
    def step(self) -> int:
        """How many steps were taken."""
        return int(self.last.get("step", 0))

    @property
    def steps(self) -> int | None:
        """How many there are to be taken, once that is known."""
        return self.started.get("steps")

    def validation(self, keep: str) -> float | None:
        """Return the validation mean of the weights that ``train.keep`` names."""
        means = [mean for _, mean in self.curve]
        if not means:
            return None
        return max(means) if keep == "best" else means[-1]

    def update(self) -> History:
        """Read what was added since, all of it anew where the file was cut back in between."""
        try:
            size = self._metrics.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._read:
            self._forget()
        if size > self._read:
            self._add()
        return self

    def _add(self) -> None:
        with self._metrics.open("rb") as stream:
            stream.seek(self._read)
            new, _, _ = stream.read().rpartition(b"\n")  # a line that is being written can wait
        try:
            records = [json.loads(line) for line in new.split(b"\n") if line]
        except ValueError:  # cut back and grown again since
            self._forget()
            return
        self._read += len(new) + bool(new)
        for record in records:
            self._take(record)

    def _take(self, record: Mapping[str, Any]) -> None:
        match record["event"]:
            case "started":
                self.started = record
            case "step":
                self.last = record
            case "evaluated":
                self.curve.append((record["step"], record["mean"]))
            case "finished":
                self.finished = record


def history_of(home: RunFolder) -> History:
    """Return the story of a run up to now."""
    return History(home.metrics).update()


def state_of(home: RunFolder) -> State:
    """Return how far a run has come: ``unfinished`` where it was stopped, or is yet to begin."""
    if not home.recipe.is_file():
        return "new"
    if history_of(home).finished is not None:
        return "finished"
    return "running" if home.held_by() else "unfinished"
