"""Experiment trackers: what they get, once each, and that no run is lost to one."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from accelerate import PartialState
from accelerate.tracking import GeneralTracker
from toys import toy_recipe, toy_registry

from mtlora_core import tracking
from mtlora_core.errors import RecipeError, TrainingError
from mtlora_core.load import plan_of
from mtlora_core.recipe import load_recipe
from mtlora_core.recipe.model import Tracker
from mtlora_core.resolve import Plan, resolve
from mtlora_core.run import run
from mtlora_core.tracking import KINDS, Kind, numbers, settings

TRAIN = {"steps": 12, "batch_size": 8, "evaluate_every": 5, "save_every": 2, "learning_rate": 1e-2}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))


def plan_with(*trackers: str) -> Plan:
    return resolve(load_recipe(toy_recipe(train=TRAIN, track=[*trackers])), toy_registry())


def go(plan: Plan, folder: Path, *, until: int = 99, **how: Any) -> None:
    """Run, or be killed after a step that no checkpoint holds."""
    for event in run(plan, folder, device="cpu", **how):
        if event["event"] == "step" and event["step"] == until:
            break


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Memory(GeneralTracker):  # type: ignore[misc]  # accelerate has no types
    """Keeps what it is told, in lists that outlive it."""

    name, requires_logging_directory = "memory", False
    told: list[Any]

    def __init__(self, told: list[Any], known: str | None, breaks: str | None) -> None:
        super().__init__()
        self.told, self.known, self.breaks = told, known, breaks

    @property
    def tracker(self) -> str:
        return self.known or "run 7"

    def start(self) -> None:
        self._tell("start", self.known)

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        self._tell("settings", values)

    def log(self, values: Mapping[str, Any], step: int | None = None, **more: Any) -> None:
        self._tell("log", step, values)

    def finish(self) -> None:
        self._tell("finish")

    def _tell(self, what: str, *more: Any) -> None:
        if what == self.breaks:
            raise ConnectionError("no network")
        self.told.append((what, *more))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a tracker in wandb's place is told."""
    return in_place_of_wandb(monkeypatch)


def installed(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    # By its name `mtlora_core.resolve` is the function, which hides the module.
    monkeypatch.setattr(sys.modules[resolve.__module__], "find_spec", lambda name: there or None)


def in_place_of_wandb(monkeypatch: pytest.MonkeyPatch, breaks: str | None = None) -> list[Any]:
    told: list[Any] = []
    kind = Kind(lambda home, known, step: Memory(told, known, breaks), str)
    monkeypatch.setitem(tracking.KINDS, "wandb", kind)
    installed(monkeypatch, True)
    return told


# TensorBoard, for real.


def drawn(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return TensorBoard's curves, as TensorBoard itself reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        name: [(point.step, point.value) for point in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


needs_tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="tensorboard is not installed"
)


@needs_tensorboard
def test_tensorboard_draws_every_number_of_the_metrics(tmp_path: Path) -> None:
    go(plan_with("tensorboard"), tmp_path / "run")

    curves = drawn(tmp_path / "run")

    wanted = [(record["step"], numbers(record)) for record in records(tmp_path / "run")[1:]]
    for name in {name for _, values in wanted for name in values}:
        expected = [(step, values[name]) for step, values in wanted if name in values]
        assert [step for step, _ in curves[name]] == [step for step, _ in expected]
        assert [value for _, value in curves[name]] == pytest.approx([v for _, v in expected])
    assert {"train/loss", "validation/mean", "test/mean/model"} <= set(curves)


@needs_tensorboard
def test_tensorboard_draws_each_step_of_a_run_that_was_killed_once(tmp_path: Path) -> None:
    go(plan_with("tensorboard"), tmp_path / "whole")
    go(plan_with("tensorboard"), tmp_path / "killed", until=7)
    go(plan_of(tmp_path / "killed", toy_registry()), tmp_path / "killed", resume=True)

    whole, killed = drawn(tmp_path / "whole"), drawn(tmp_path / "killed")

    assert killed["train/loss"] == whole["train/loss"]
    assert [step for step, _ in killed["train/loss"]] == list(range(1, 13))


# What any tracker is told.


def test_a_tracker_is_told_the_settings_then_the_numbers_then_the_end(
    told: list[Any], tmp_path: Path
) -> None:
    go(plan_with("wandb"), tmp_path / "run")

    assert [what for what, *_ in told[:3]] == ["start", "settings", "log"]
    assert told[1][1]["train.steps"] == 12
    assert told[-1] == ("finish",)
    steps = [each[1] for each in told if each[0] == "log" and "train/loss" in each[2]]
    assert steps == list(range(1, 13))


def test_a_resumed_run_goes_on_under_the_name_it_had(told: list[Any], tmp_path: Path) -> None:
    go(plan_with("wandb"), tmp_path / "run", until=7)
    go(plan_of(tmp_path / "run", toy_registry()), tmp_path / "run", resume=True)

    assert [each for each in told if each[0] == "start"] == [("start", None), ("start", "run 7")]
    assert len([each for each in told if each[0] == "settings"]) == 1


def test_a_tracker_is_told_the_end_of_a_run_that_is_stopped(
    told: list[Any], tmp_path: Path
) -> None:
    go(plan_with("wandb"), tmp_path / "run", until=3)

    assert told[-1] == ("finish",)


def test_a_run_outlives_a_tracker_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = in_place_of_wandb(monkeypatch, breaks="log")

    with pytest.warns(UserWarning, match=r"wandb failed .* metrics\.jsonl: no network"):
        go(plan_with("wandb"), tmp_path / "run")

    assert records(tmp_path / "run")[-1]["event"] == "finished"
    assert [what for what, *_ in told] == ["start", "settings"]


def test_a_tracker_that_cannot_start_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place_of_wandb(monkeypatch, breaks="start")

    with pytest.raises(TrainingError, match="wandb could not be started: no network; mend that"):
        go(plan_with("wandb"), tmp_path / "run")

    in_place_of_wandb(monkeypatch)
    go(plan_of(tmp_path / "run", toy_registry()), tmp_path / "run", resume=True)
    assert records(tmp_path / "run")[-1]["event"] == "finished"


class Service(ModuleType):
    """What accelerate's own trackers call in the place of wandb or trackio."""

    id = name = "run 7"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.heard: list[tuple[Any, ...]] = []
        self.config = self

    def init(self, **how: Any) -> Service:
        return self

    def update(self, settings: Mapping[str, Any], **how: Any) -> None:
        self.heard.append(("settings", len(settings) > 0))

    def log(self, values: Mapping[str, Any], **how: Any) -> None:
        self.heard.append(("log", how.get("step")))

    def finish(self) -> None:
        self.heard.append(("finish",))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_accelerate_s_tracker_gets_all_of_a_run_and_leaves_no_state_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    service = Service(name)
    monkeypatch.setitem(sys.modules, name, service)
    installed(monkeypatch, there=True)
    monkeypatch.setattr(PartialState, "_shared_state", {})  # as in a process of its own

    go(plan_with(name), tmp_path / "run")

    assert ("settings", True) in service.heard
    assert {("log", step) for step in range(1, 13)} <= {*service.heard}
    assert service.heard[-1] == ("finish",)
    assert PartialState._shared_state == {}


def test_a_run_without_trackers_writes_nothing_for_any(tmp_path: Path) -> None:
    go(plan_with(), tmp_path / "run")

    assert not (tmp_path / "run" / "tracking.json").exists()
    assert not (tmp_path / "run" / "tensorboard").exists()


# Names and numbers.


def test_every_tracker_that_a_recipe_may_name_can_be_made() -> None:
    assert set(KINDS) == set(get_args(Tracker))


def test_a_tracker_that_is_not_installed_is_told_when_the_recipe_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, False)

    with pytest.raises(RecipeError, match=r"track\.0: wandb is not installed: pip install wandb"):
        plan_with("wandb")


def test_an_unknown_tracker_is_told_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"track.*'tensorboard', 'wandb', 'mlflow' or 'trackio'"):
        plan_with("wandbb")


def test_numbers_are_named_after_the_split_and_the_records_keys() -> None:
    step = {"event": "step", "step": 3, "loss": 0.5, "losses": {"a": 0.25}, "skipped": True}
    seen = {"event": "evaluated", "split": "validation", "mean": 0.5, "tasks": {"a": {"mcc": 0.1}}}
    ended = {"event": "finished", "mean": {"model": 0.5}, "test": {"a": {"value": 1, "load": [1]}}}

    assert numbers(step) == {"train/loss": 0.5, "train/losses/a": 0.25}
    assert numbers(seen) == {"validation/mean": 0.5, "validation/a/mcc": 0.1}
    assert numbers(ended) == {"test/mean/model": 0.5, "test/a/value": 1}
    assert numbers({"event": "started", "steps": 3}) == {}


def test_settings_are_a_recipe_flat_of_values_that_every_tracker_takes() -> None:
    recipe = {
        "name": "x",
        "router": None,
        "experts": {"count": 4},
        "regularizers": [{"use": "b", "weight": 1.0}],
    }

    assert settings(recipe) == {
        "name": "x",
        "router": "null",
        "experts.count": 4,
        "regularizers": '[{"use": "b", "weight": 1.0}]',
    }
