"""Run folders as the report reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from ..runfolder import RunFolder
from .study import Curve, Run, Score

Event = Mapping[str, Any]


def read_run(folder: Path) -> Run | None:
    """Return a run as its folder tells it, or None where it has no test scores yet.

    Raises:
        RunFolderError: the folder is no run folder, or its metrics are damaged.
    """
    home = RunFolder(folder)
    recipe = home.read_recipe().to_json()
    try:
        events = home.records()
        scored = any(event["test"] for event in _of(events, "finished"))
        return _run(folder, recipe, events) if scored else None
    except (LookupError, TypeError, ValueError) as error:
        raise RunFolderError(f"{home.metrics}: is damaged: {error!r}") from error


def _run(folder: Path, recipe: Mapping[str, Any], events: Sequence[Event]) -> Run:
    started, finished = _of(events, "started")[-1], _of(events, "finished")[-1]
    return Run(
        folder=folder,
        recipe=recipe,
        scores={
            task: Score(str(row["metric"]), float(row["value"]))
            for task, row in finished["test"].items()
        },
        mean=float(finished["mean"]["model"]),
        parameters=started["parameters"],
        seconds=finished.get("training_seconds"),
        memory=finished.get("memory"),
        validation=_curve(_of(events, "evaluated"), "mean"),
        loss=_curve(_of(events, "step"), "loss"),
    )


def _of(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def _curve(events: Sequence[Event], key: str) -> Curve:
    return [(int(event["step"]), float(event[key])) for event in events]
