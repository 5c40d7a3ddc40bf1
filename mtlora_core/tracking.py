"""What a run records, sent to the experiment trackers that its recipe names, by accelerate."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from accelerate import PartialState
from accelerate.tracking import (
    GeneralTracker,
    MLflowTracker,
    TensorBoardTracker,
    TrackioTracker,
    WandBTracker,
)

from .changes import flat
from .errors import TrainingError
from .files import write
from .runfolder import RunFolder

PROJECT = "mtlora"
"""What runs are filed under, unless the tracker's own environment variable says where."""

Record = Mapping[str, Any]


class Kind(NamedTuple):
    """How a tracker is made, and how it names a run."""

    make: Callable[[RunFolder, str | None, int], GeneralTracker]
    """Of the run's folder, its name there if it is resumed, and the steps it has taken."""
    identity: Callable[[Any], str]
    """The run's name there, by which it can be resumed, of what the tracker wraps."""


class Tracking:
    """Sends a run's records to trackers; one that fails is given up, and the run goes on."""

    def __init__(self) -> None:
        self._trackers: dict[str, GeneralTracker] = {}

    def start(self, name: str, home: RunFolder, known: str | None, step: int) -> GeneralTracker:
        """Start a tracker and return it.

        Raises:
            TrainingError: it could not be started.
        """
        try:
            with _state():
                tracker = KINDS[name].make(home, known, step)
                tracker.start()
        except Exception as error:
            raise TrainingError(
                f"track: {name} could not be started: {error}; mend that and go on by --resume "
                f"{home.path}, or leave it out: --set track=[]"
            ) from error
        self._trackers[name] = tracker
        return tracker

    def log(self, record: Record) -> None:
        """Send the numbers of a record."""
        values = numbers(record)
        for name, tracker in [*self._trackers.items()] if values else []:
            with self._given_up(name):
                tracker.log(values, step=record["step"])

    def finish(self) -> None:
        """Tell the trackers that no record will follow."""
        for name, tracker in [*self._trackers.items()]:
            with self._given_up(name):
                tracker.finish()

    @contextmanager
    def _given_up(self, name: str) -> Iterator[None]:
        try:
            with _state():
                yield
        except Exception as error:  # a run of many hours is worth more than its copy
            del self._trackers[name]
            warnings.warn(
                f"track: {name} failed and gets no more records, all of which are in "
                f"metrics.jsonl: {error}",
                stacklevel=2,
            )


@contextmanager
def _state() -> Iterator[None]:
    """Give accelerate's trackers the state that they ask for, and leave none behind.

    Where a launcher started several processes there is one. Another would be found by an
    ``Accelerator`` that the user makes later, and decide about its device.
    """
    if PartialState._shared_state:
        yield
        return
    PartialState(cpu=True)
    try:
        yield
    finally:
        PartialState._reset_state()


@contextmanager
def tracked(names: Sequence[str], home: RunFolder, recipe: Record, step: int) -> Iterator[Tracking]:
    """Start trackers, and finish them at the end, however it comes.

    Args:
        names: Those under the recipe's ``track``.
        home: The run's folder. TensorBoard writes into it; its ``tracking.json`` keeps what each
            tracker calls the run, so that a resumed run goes on there.
        recipe: As plain data; its numbers and texts go with the run.
        step: Optimizer steps taken: not 0 where a run is resumed.

    Raises:
        TrainingError: a tracker could not be started.
    """
    tracking, known = Tracking(), home.read_tracking()
    try:
        for name in dict.fromkeys(names):
            tracker = tracking.start(name, home, known.get(name), step)
            if name not in known:
                with _state():
                    tracker.store_init_configuration(settings(recipe))
                known[name] = KINDS[name].identity(tracker.tracker)
        if names:
            write(home.tracking, json.dumps(known, indent=2) + "\n")
        yield tracking
    finally:
        tracking.finish()


def numbers(record: Record) -> dict[str, float]:
    """Return what can be drawn over steps of a record of ``metrics.jsonl``.

    The names begin with ``train``, ``validation`` or ``test`` and go on as the record's keys do.
    """
    match record["event"]:
        case "step":
            drawn = {"train": {key: value for key, value in record.items() if key != "step"}}
        case "evaluated":
            drawn = {record["split"]: {"mean": record["mean"], **record["tasks"]}}
        case "finished":
            drawn = {"test": {"mean": record["mean"], **record["test"]}}
        case _:
            drawn = {}
    return {key: value for key, value in flat(drawn, separator="/") if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def settings(recipe: Record) -> dict[str, bool | int | float | str]:
    """Return a recipe flat, by dotted keys; lists and null as JSON, which every tracker takes."""
    return {key: _setting(value) for key, value in flat(recipe)}


def _setting(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _tensorboard(home: RunFolder, known: str | None, step: int) -> GeneralTracker:
    # Steps after the checkpoint are taken again: what was drawn of them is forgotten.
    return TensorBoardTracker("tensorboard", home.path, purge_step=step + 1 if known else None)


def _wandb(home: RunFolder, known: str | None, step: int) -> GeneralTracker:
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    resume = "must" if known else None
    return WandBTracker(project, name=home.path.name, dir=home.path, id=known, resume=resume)


def _mlflow(home: RunFolder, known: str | None, step: int) -> GeneralTracker:
    return MLflowTracker(experiment_name=PROJECT, run_name=home.path.name, run_id=known)


def _trackio(home: RunFolder, known: str | None, step: int) -> GeneralTracker:
    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    return TrackioTracker(project, name=known, resume="must" if known else "never")


KINDS = {
    "tensorboard": Kind(_tensorboard, lambda writer: "tensorboard"),
    "wandb": Kind(_wandb, lambda run: str(run.id)),
    "mlflow": Kind(_mlflow, lambda run: str(run.info.run_id)),
    "trackio": Kind(_trackio, lambda run: str(run.name)),
}
