"""A run folder becomes a plan, a model, or scores again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from .errors import VersionWarning, require_known
from .finished import read_run
from .lock import other_versions
from .model import MultiTaskModel
from .registry import Registry
from .resolve import Plan, resolve
from .runfolder import RunFolder
from .tasks import Split
from .train.engine import make_engine
from .train.evaluate import split_table


def load(
    folder: str | Path,
    *,
    device: str | None = None,
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
) -> MultiTaskModel:
    """Return the trained model of a finished run, in eval mode.

    Warns with :class:`~mtlora_core.errors.VersionWarning` of each plugin that is of another version
    than the run's.

    Args:
        folder: The run folder.
        device: Such as ``cpu`` or ``cuda:1``; None takes the best there is.
        overrides: Changes of its recipe, such as ``backbone.model=DIR`` of a model that has moved;
            relative paths are relative to the current folder.
        registry: The parts; None discovers those installed.

    Raises:
        RunFolderError: the folder is no finished run, or its adapter is damaged.
        RecipeError: a part of the run is not installed.
    """
    run = read_run(folder, overrides=overrides, registry=registry)
    for notice in run.plan.notices:
        warnings.warn(f"{folder}: {notice}", VersionWarning, stacklevel=2)
    return run.model(device)


def plan_of(folder: str | Path, registry: Registry) -> Plan:
    """Return the plan of a run folder, to resume it.

    Raises:
        RunFolderError: the folder is no run folder.
        RecipeError: a part of the run is not installed.
    """
    home = RunFolder(folder)
    plan = resolve(home.read_recipe(), registry)
    return replace(plan, notices=(*plan.notices, *other_versions(plan, home.read_lock())))


def evaluate(
    folder: str | Path,
    *,
    split: Split = "test",
    device: str | None = None,
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
) -> Iterator[dict[str, Any]]:
    """Score a finished run again; yield phases, notes, and one ``evaluated`` event.

    Args:
        folder: The run folder.
        split: Which examples.
        device: Such as ``cpu`` or ``cuda:1``; None takes the best there is.
        overrides: Changes of its recipe, such as ``tasks.root=DIR`` of data that has moved.
        registry: The parts; None discovers those installed.

    Raises:
        MtloraError: as :func:`load`; the data cannot be read.
    """
    require_known("split", split, get_args(Split))
    yield {"event": "phase", "name": "loading the run"}
    run = read_run(folder, overrides=overrides, registry=registry, data=True)
    yield from ({"event": "note", "text": notice} for notice in run.plan.notices)
    recipe = run.plan.recipe
    engine = make_engine(recipe.train.precision, device)
    data, model = run.data(), run.model(device)
    yield {"event": "phase", "name": f"scoring the {split} split"}
    scores = split_table(model, data, split, engine, recipe.seed)
    mean = float(np.mean([each["value"] for each in scores.values()]))
    yield {"event": "evaluated", "split": split, "tasks": scores, "mean": mean}
