"""A finished run: what it learnt, and its recipe as a plan of the parts installed now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from .compose import compose, load_tasks
from .device import pick_device
from .errors import CompositionError, MtloraError, RunFolderError
from .lock import other_versions
from .model import MultiTaskModel
from .recipe import Recipe
from .registry import Registry
from .resolve import Plan, resolve
from .runfolder import RunFolder
from .tasks import Task, TaskData


@dataclass(frozen=True)
class FinishedRun:
    """What a run folder holds at the end, and the parts to make a model of it."""

    folder: Path
    plan: Plan
    """Its notices say which plugins are of another version than the run's."""
    tasks: Sequence[Task]
    """What was learnt."""
    state: Mapping[str, Tensor] = field(repr=False)
    """The trained tensors."""

    def model(self, device: str | None = None) -> MultiTaskModel:
        """Return the trained model, in eval mode.

        Args:
            device: Such as ``cpu`` or ``cuda:1``; None takes the best there is.

        Raises:
            RecipeError: the device is not there.
            RunFolderError: the installed parts are not those that the tensors are of.
        """
        chosen = pick_device(device)  # told before anything large is read
        with _telling_what_moved(self.plan.recipe):
            model = compose(self.plan, self.tasks)
        try:
            model.load_trained_state(self.state)
        except CompositionError as error:
            raise RunFolderError(
                [f"{self.folder}: does not fit the installed parts: {p}" for p in error.problems]
            ) from error
        return model.to(chosen).eval()

    def data(self) -> list[TaskData]:
        """Return the tasks with their data as it is now; of a run that was read with ``data``.

        Raises:
            DataError: the data cannot be read.
            RunFolderError: it no longer has the tasks that were learnt: their names, in their
                order, and the classes of each.
        """
        with _telling_what_moved(self.plan.recipe):
            data = load_tasks(self.plan)
        if changed := [*_changed(self.tasks, [each.task for each in data])]:
            advice = "bring the data back as it was, or train anew"
            raise RunFolderError([f"{self.folder}: {line}; {advice}" for line in changed])
        return data


def read_run(
    folder: str | Path,
    *,
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
    data: bool = False,
) -> FinishedRun:
    """Return a finished run.

    Args:
        folder: The run folder.
        overrides: Changes of its recipe, such as ``backbone.model=DIR`` of a model that has moved.
        registry: The parts; None discovers those installed.
        data: Whether the tasks' data is wanted; a trained model does without.

    Raises:
        RunFolderError: the folder is no finished run, or its adapter is damaged.
        MtloraError: a part of the run is not installed, or its options are no longer right.
    """
    home = RunFolder(folder)
    state, recipe, tasks = home.read_adapter(overrides)
    with _telling_what_moved(recipe):
        plan = resolve(_unwatched(recipe), registry or Registry.discover(), data=data)
    lock = home.read_lock() if home.lock.exists() else {}
    return FinishedRun(home.path, replace(plan, notices=other_versions(plan, lock)), tasks, state)


def _unwatched(recipe: Recipe) -> Recipe:
    """Return a recipe without who watched its training, and need not be installed any more."""
    return recipe.model_copy(update={"track": (), "observe": ()})


@contextmanager
def _telling_what_moved(recipe: Recipe) -> Iterator[None]:
    """Add to a failure which paths of the recipe it is of, if they are gone, and how to mend that.

    A run's recipe has absolute paths: of the machine, and the time, of its training.
    """
    try:
        yield
    except MtloraError as error:
        if not (gone := [*_gone(recipe, error.problems)]):
            raise
        raise type(error)([*error.problems, *gone]) from error


def _gone(recipe: Recipe, problems: Sequence[str]) -> Iterator[str]:
    for keys, spec in recipe.parts():
        for name, path in _paths(".".join(map(str, keys)), spec.options):
            if not Path(path).exists() and any(path in problem for problem in problems):
                yield (
                    f"{name}: if {path} has moved, say where it is by --set {name}=PATH, or in "
                    f"Python by overrides=['{name}=PATH']"
                )


def _paths(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every absolute path in the options of a part, with its dotted name."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _paths(f"{name}.{key}", entry)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _paths(f"{name}.{index}", entry)
    elif isinstance(value, str) and Path(value).is_absolute():
        yield name, value


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
