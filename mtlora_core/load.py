"""A run folder becomes a plan, a model, or scores again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .compose import compose, load_tasks
from .errors import CompositionError, RunFolderError
from .model import MultiTaskModel
from .recipe import Recipe
from .registry import Registry
from .resolve import Plan, resolve
from .runfolder import RunFolder
from .tasks import Split, Task, TaskData
from .train.engine import make_engine, pick_device
from .train.evaluate import split_table


def load(
    folder: str | Path, *, device: str | None = None, registry: Registry | None = None
) -> MultiTaskModel:
    """Return the trained model of a finished run, in eval mode.

    Args:
        folder: The run folder.
        device: Such as ``cpu`` or ``cuda:1``; None takes the best there is.
        registry: The parts; None discovers those installed.

    Raises:
        RunFolderError: the folder is no finished run, or its adapter is damaged.
        RecipeError: a part of the run is not installed.
    """
    values, recipe, tasks = RunFolder(Path(folder)).read_adapter()
    plan = resolve(recipe, registry or Registry.discover(), data=False)
    model = compose(plan, tasks)
    try:
        model.load_trained_state(values)
    except CompositionError as error:
        raise RunFolderError(
            [f"{folder}: does not fit the installed parts: {p}" for p in error.problems]
        ) from error
    return model.to(pick_device(device)).eval()


def read_data(folder: Path, registry: Registry) -> tuple[Recipe, list[TaskData]]:
    """Return the recipe of a finished run, and its tasks with their data as it is now.

    Raises:
        RunFolderError: the folder is no finished run, or the data no longer has the tasks that
            it learnt: their names, in their order, and the classes of each.
        MtloraError: a part is not installed, or the data cannot be read.
    """
    _, recipe, learnt = RunFolder(folder).read_adapter()
    data = load_tasks(resolve(recipe, registry))
    if changed := [*_changed(learnt, [each.task for each in data])]:
        advice = "bring the data back as it was, or train anew"
        raise RunFolderError([f"{folder}: {line}; {advice}" for line in changed])
    return recipe, data


def _changed(learnt: Sequence[Task], now: Sequence[Task]) -> Iterator[str]:
    """Yield how tasks are no longer those that a model answers, by position."""
    names, found = ([task.name for task in tasks] for tasks in (learnt, now))
    if names != found:
        yield f"it learnt the tasks {', '.join(names)}, and the data now has {', '.join(found)}"
        return
    for before, after in zip(learnt, now, strict=True):
        if before.objective != after.objective:
            yield f"task {before.name!r} was {before.objective}, and is now {after.objective}"
        elif before.objective == "classification" and before.labels != after.labels:
            yield f"task {before.name!r} has other classes now: {_difference(before, after)}"


def _difference(before: Task, after: Task) -> str:
    new = [f"new {label!r}" for label in after.labels if label not in before.labels]
    gone = [f"{label!r} is gone" for label in before.labels if label not in after.labels]
    return ", ".join([*new, *gone]) or "the same in another order"


def plan_of(folder: Path, registry: Registry) -> Plan:
    """Return the plan of a run folder, to resume it.

    Raises:
        RunFolderError: the folder is no run folder.
        RecipeError: a part of the run is not installed.
    """
    home = RunFolder(folder)
    recipe = home.read_recipe()
    plan = resolve(recipe, registry)
    versions = home.read_lock().get("plugins", {})
    notices = [
        f"{bound.package} is version {bound.version}, the run was made with {old['version']}"
        for _, bound in plan.parts()
        if (old := versions.get(bound.package)) and old["version"] != bound.version
    ]
    return replace(plan, notices=(*plan.notices, *dict.fromkeys(notices)))


def evaluate(
    folder: Path, *, split: Split = "test", device: str | None = None
) -> Iterator[dict[str, Any]]:
    """Score a finished run again; yield phases and one ``evaluated`` event.

    Raises:
        MtloraError: as :func:`load`; the data cannot be read.
    """
    yield {"event": "phase", "name": "loading the run"}
    registry = Registry.discover()
    recipe, data = read_data(folder, registry)
    model = load(folder, device=device, registry=registry)
    engine = make_engine(recipe.train.precision, device)
    yield {"event": "phase", "name": f"scoring the {split} split"}
    scores = split_table(model, data, split, engine, recipe.seed)
    mean = float(np.mean([each["value"] for each in scores.values()]))
    yield {"event": "evaluated", "split": split, "tasks": scores, "mean": mean}
