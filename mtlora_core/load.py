"""A run folder becomes a plan, a model, or scores again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .compose import compose, load_tasks
from .errors import CompositionError, RunFolderError
from .model import MultiTaskModel
from .registry import Registry
from .resolve import Plan, resolve
from .runfolder import RunFolder
from .tasks import Split
from .train.engine import make_accelerator
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
    return model.to(make_accelerator(device=device).device).eval()


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
    _, recipe, _ = RunFolder(folder).read_adapter()
    plan = resolve(recipe, registry)
    model, data = load(folder, registry=registry), load_tasks(plan)
    accelerator = make_accelerator(recipe.train.precision, device)
    yield {"event": "phase", "name": f"scoring the {split} split"}
    scores = split_table(model.to(accelerator.device), data, split, accelerator, recipe.seed)
    mean = float(np.mean([each["value"] for each in scores.values()]))
    yield {"event": "evaluated", "split": split, "tasks": scores, "mean": mean}
