"""Studies over toys, an executor that runs nothing, and run folders made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from parts import recipe_with, registry_of

from mtlora_core.ablate import AblationFolder, Flags, Schedule, Study, read_study
from mtlora_core.ablate.cells import Cell
from mtlora_core.execution import Job, Running
from mtlora_core.recipe import dump_recipe
from mtlora_core.runfolder import RunFolder

Event = dict[str, Any]


def recipe_in(folder: Path, name: str = "toy", **changes: Any) -> Path:
    """Write a recipe of the light toys, and return its path."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({**recipe_with(**changes), "name": name}))  # JSON is YAML
    return path


def ablation_in(folder: Path, text: str) -> Path:
    """Write an ablation beside the recipe ``toy.yaml``, and return its path."""
    recipe_in(folder)
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def study_of(path: Path, *, skip_invalid: bool = False, **flags: Any) -> Study:
    """Return the study of a file with flags, over the light toys."""
    return read_study(path, Flags(**flags), registry_of(), skip_invalid=skip_invalid)


def names(study: Study) -> list[str]:
    """Return what the rows are called."""
    return [row.name for row in study.rows]


def all_cells(study: Study) -> list[Cell]:
    """Return the cells of a study that tunes nothing."""
    return [cell for row in study.rows for cell in study.cells(row, row.plan)]


def finish(home: RunFolder, score: float = 0.5, **changes: Any) -> None:
    """Write the folder of a finished run by hand, with two tasks, one a tenth above ``score``."""
    begin(home, **changes)
    values = {"one": score - 0.1, "two": score + 0.1, **changes.get("tasks", {})}
    tasks = {
        name: {"metric": "accuracy", "value": v, "low": v - 0.1, "high": v + 0.1, "count": 9}
        for name, v in values.items()
    }
    mean = sum(values.values()) / len(values)
    record(
        home, event="evaluated", step=4, mean=changes.get("validation", score), split="validation"
    )
    last = {"best_step": 4, "training_seconds": 2.0, "memory": 1 << 20}
    record(home, event="finished", step=4, test=tasks, mean={"model": mean}, **last)


def begin(home: RunFolder, recipe: Mapping[str, Any] | None = None, **changes: Any) -> None:
    """Write the folder of a run that has taken four steps."""
    home.path.mkdir(parents=True, exist_ok=True)
    home.recipe.write_text(dump_recipe(recipe or recipe_with()))
    lock = {"device": {"type": "cpu", "name": "x"}, "torch": "2", "data": {"one": "a", "two": "b"}}
    home.lock.write_text(json.dumps({**lock, **changes.get("lock", {})}))
    adapters = changes.get("adapters", 10)
    parameters = {"trainable": adapters + 2, "total": 20, "adapters": adapters, "heads": 2}
    started = {"steps": changes.get("steps", 4), "tasks": {"one": {}, "two": {}}}
    record(home, event="started", parameters=parameters, resumed_at=0, **started)
    record(home, event="step", step=4, loss=0.5, seconds_left=0.0)


def record(home: RunFolder, **event: Any) -> None:
    """Add a line to the metrics of a run."""
    home.record(event)


class Stub:
    """An executor whose jobs are over at once, after ``act`` was done in their place.

    Args:
        act: Takes the run folder and the command; returns the status, or None to go on for ever.
    """

    def __init__(self, act: Callable[[RunFolder, Sequence[str]], int | None], *, here: bool = True):
        self.act = act
        self.on_this_machine = here
        self.jobs: list[Job] = []
        self.running: list[_Stubbed] = []

    def start(self, job: Job) -> Running:
        """Do it at once."""
        self.jobs.append(job)
        status = self.act(RunFolder(folder_of(job)), job.command)
        self.running.append(_Stubbed(status))
        return self.running[-1]


class _Stubbed:
    def __init__(self, status: int | None) -> None:
        self._status = status
        self.asked: list[str] = []

    def status(self) -> int | None:
        return self._status

    def interrupt(self) -> None:
        self.asked.append("interrupt")
        self._status = 130 if self._status is None else self._status

    def kill(self) -> None:
        self.asked.append("kill")


def folder_of(job: Job) -> Path:
    """Return the run folder that a job's command names."""
    words = list(job.command)
    flag = "--resume" if "--resume" in words else "--out"
    return Path(words[words.index(flag) + 1])


def schedule_in(folder: Path, executor: Any, jobs: int = 1, **more: Any) -> Schedule:
    """Return a schedule in a folder, made ready."""
    home = AblationFolder(folder)
    home.prepare()
    return Schedule(home, executor, [None] * jobs, **more)
