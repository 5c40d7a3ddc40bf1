"""The run folder: what it holds, how it survives, what it refuses."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from toys import toy_recipe, toy_registry

from mtlora_core import finished as finished_run
from mtlora_core.compose import load_tasks
from mtlora_core.errors import MtloraError, RunFolderError, TrainingError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.load import evaluate, load, plan_of
from mtlora_core.lock import differences, hash_package, make_lock
from mtlora_core.recipe import load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import Plan, resolve
from mtlora_core.run import describe, free_folder, run
from mtlora_core.tasks import Example, TaskData
from mtlora_core.tensors import read
from mtlora_core.train.engine import Engine, make_engine

TIMES = (
    "seconds",
    "training_seconds",
    "seconds_left",
    "tokens_per_second",
    "data_wait",
    "memory",
)
TEXTS = ["mark0 aa bb", "cc mark1", "dd ee ff mark2 aa"]
TRAIN = {
    "steps": 24,
    "batch_size": 8,
    "accumulate": 2,
    "warmup": 0.2,
    "learning_rate": 1e-2,
    "evaluate_every": 7,
    "save_every": 3,
    "sampling": "temperature",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))


def plan_with(**changes: Any) -> Plan:
    return resolve(load_recipe(toy_recipe(**{"train": TRAIN, **changes})), toy_registry())


def resumed(folder: Path, **how: Any) -> list[dict[str, Any]]:
    plan = plan_of(folder, toy_registry())
    return list(run(plan, folder, resume=True, device="cpu", **how))


def finished(folder: str | Path, **changes: Any) -> list[dict[str, Any]]:
    return list(run(plan_with(**changes), folder, device="cpu"))


def stop_after(events: Iterator[dict[str, Any]], step: int) -> None:
    """Consume a run up to a step and drop it there, as a kill between two steps would."""
    for event in events:
        if event["event"] == "step" and event["step"] == step:
            break


def lines(folder: Path) -> list[Mapping[str, Any]]:
    """Return the metrics without what may differ between two runs of the same thing."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [record for record in records if record["event"] != "started"]
    return [{k: v for k, v in record.items() if k not in TIMES} for record in kept]


def test_a_run_leaves_its_recipe_lock_metrics_adapter_and_checkpoint(tmp_path: Path) -> None:
    events = finished(str(tmp_path / "run"))

    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "recipe.yaml",
        "lock.json",
        "metrics.jsonl",
        "adapter.safetensors",
        "checkpoint",
    }
    last = events[-1]
    assert last["event"] == "finished"
    assert set(last["test"]) == {"toy0", "toy1", "toy2"}
    row = last["test"]["toy0"]
    assert row["low"] <= row["value"] <= row["high"]
    assert set(last["mean"]) == {"model", "majority", "tfidf", "heads"}


def test_the_saved_recipe_resolves_to_the_same_plan(tmp_path: Path) -> None:
    finished(tmp_path / "run")

    again = plan_of(tmp_path / "run", toy_registry())
    assert again.to_json() == plan_with().to_json()


@pytest.mark.parametrize("step", [1, 5, 7, 8, 17, 23, 24])
def test_a_run_killed_at_any_step_and_resumed_equals_an_unbroken_one(
    tmp_path: Path, step: int
) -> None:
    finished(tmp_path / "whole")
    stop_after(run(plan_with(), tmp_path / "broken", device="cpu"), step)

    resumed(tmp_path / "broken")

    whole, broken = (read(tmp_path / name / "adapter.safetensors") for name in ("whole", "broken"))
    assert whole[0].keys() == broken[0].keys()
    assert all(torch.equal(whole[0][name], broken[0][name]) for name in whole[0])
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")


@pytest.mark.parametrize(
    "parts",
    [
        # A bias that no gradient moves, and factors that most steps of two examples pass over.
        {
            "experts": {"use": "rank-one", "count": 8, "dropout": 0.1},
            "router": {"use": "rank-top-k", "k": 2, "rate": 0.05},
        },
        {"experts": {"use": "per-task", "dropout": 0.1}, "router": None},
    ],
    ids=["bias", "per-task"],
)
def test_what_parts_keep_beside_their_weights_is_resumed_too(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    train = {**TRAIN, "steps": 12, "batch_size": 2, "accumulate": 1}
    changes: dict[str, Any] = {"train": train, "regularizers": [], **parts}
    finished(tmp_path / "whole", **changes)
    stop_after(run(plan_with(**changes), tmp_path / "broken", device="cpu"), 8)

    resumed(tmp_path / "broken")

    whole, broken = (
        read(tmp_path / name / "checkpoint" / "state.safetensors")[0]
        for name in ("whole", "broken")
    )
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    biases = [value for name, value in whole.items() if name.endswith("router.bias")]
    assert all(bias.any() for bias in biases)


def test_loading_gives_the_same_answers_bit_for_bit(tmp_path: Path) -> None:
    finished(tmp_path / "run")

    first, second = (load(tmp_path / "run", registry=toy_registry()) for _ in range(2))
    tasks = ["toy0", "toy1", "toy2"]
    answers = [model.predict(TEXTS, task=tasks) for model in (first, second)]
    assert answers[0] == answers[1]
    assert [answer.task for answer in answers[0]] == tasks
    assert all(abs(sum(a.probabilities.values()) - 1) < 1e-9 for a in answers[0])


def test_the_scores_of_a_loaded_run_are_those_of_its_end(tmp_path: Path) -> None:
    last = finished(tmp_path / "run")[-1]
    *_, event = evaluate(tmp_path / "run", device="cpu", registry=toy_registry())

    for task, row in event["tasks"].items():
        assert row["value"] == last["test"][task]["value"]
        assert (row["low"], row["high"]) == (last["test"][task]["low"], last["test"][task]["high"])


def test_a_run_is_scored_on_the_device_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path / "run")
    asked = []

    def noted(precision: Any = "fp32", device: str | None = None) -> Engine:
        asked.append(device)
        return make_engine(precision, "cpu")

    def chosen(device: str | None) -> torch.device:
        asked.append(device)
        return torch.device("cpu")

    monkeypatch.setattr(sys.modules[evaluate.__module__], "make_engine", noted)
    monkeypatch.setattr(finished_run, "pick_device", chosen)
    list(evaluate(tmp_path / "run", device="cuda:7", registry=toy_registry()))

    assert asked == ["cuda:7", "cuda:7"]


def with_labels(data: list[TaskData], labels: tuple[str, ...]) -> list[TaskData]:
    return [replace(data[0], task=replace(data[0].task, labels=labels)), *data[1:]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data[1:], "learnt the tasks toy0, toy1, toy2, and the data now has toy1, t"),
        (lambda data: data[::-1], "the data now has toy2, toy1, toy0"),
        (lambda data: with_labels(data, ("aye", "no")), "other classes now: new 'aye', 'yes' is g"),
        (lambda data: with_labels(data, ("yes", "no")), "the same in another order"),
    ],
)
def test_data_with_other_tasks_than_were_learnt_is_not_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, told: str
) -> None:
    finished(tmp_path / "run")
    monkeypatch.setattr(finished_run, "load_tasks", lambda plan: change(load_tasks(plan)))

    with pytest.raises(RunFolderError, match=told):
        list(evaluate(tmp_path / "run", device="cpu", registry=toy_registry()))


def test_a_regression_task_runs_beside_classification(tmp_path: Path) -> None:
    last = finished(tmp_path / "run", tasks={"use": "toy", "number": True})[-1]

    assert last["test"]["toy2"]["metric"] == "spearman"
    model = load(tmp_path / "run", registry=toy_registry())
    (answer,) = model.predict(["mark2 mark2 aa"], task="toy2")
    assert answer.label is None
    assert isinstance(answer.value, float)


def test_an_existing_folder_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")

    with pytest.raises(RunFolderError, match="exists and is not this run's"):
        finished(tmp_path / "run")

    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_finished_run_resumed_gives_its_end_again(tmp_path: Path) -> None:
    last = finished(tmp_path / "run")[-1]
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()

    assert json.dumps(resumed(tmp_path / "run")[-1]) == json.dumps(last)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    stop_after(run(plan_with(), tmp_path / "run", device="cpu"), 5)
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("noise: 0", "noise: 1"))

    with pytest.raises(RunFolderError, match=r"data\.toy0"):
        resumed(tmp_path / "run")


def test_locked_refuses_any_difference_and_names_it(tmp_path: Path) -> None:
    stop_after(run(plan_with(), tmp_path / "run", device="cpu"), 5)
    lock = tmp_path / "run" / "lock.json"
    lock.write_text(lock.read_text().replace(f'"torch": "{torch.__version__}"', '"torch": "1.0"'))

    with pytest.raises(RunFolderError, match=r"torch: was 1\.0, is"):
        resumed(tmp_path / "run", locked=True)
    started = next(e for e in resumed(tmp_path / "run") if e["event"] == "started")
    assert any("torch: was 1.0" in notice for notice in started["notices"])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text", "absent"])
def test_a_damaged_adapter_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    finished(tmp_path / "run")
    path = tmp_path / "run" / "adapter.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-100] ^= 1
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("not a tensor")
    else:
        path.unlink()

    with pytest.raises(RunFolderError) as caught:
        load(tmp_path / "run", registry=toy_registry())
    assert "run" in str(caught.value)


def test_a_run_whose_plugin_is_gone_names_the_part(tmp_path: Path) -> None:
    import toys

    finished(tmp_path / "run")

    with pytest.raises(MtloraError, match="fine-grained"):
        load(tmp_path / "run", registry=Registry({"toys": toys}))


def test_no_room_on_the_disk_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    events = run(plan_with(), folder, device="cpu")
    stop_after(events, 8)
    good = (folder / "checkpoint" / "state.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"state\.safetensors: cannot be written"):
            list(events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert (folder / "checkpoint" / "state.safetensors").read_bytes() == good
    assert [path.name for path in (folder / "checkpoint").iterdir()] == ["state.safetensors"]
    assert resumed(folder)[-1]["event"] == "finished"


def test_the_plan_is_described_without_weights(tmp_path: Path) -> None:
    plan = plan_with()
    described = describe(plan)

    started = next(e for e in run(plan, tmp_path / "run", device="cpu") if e["event"] == "started")
    assert described["parameters"] == started["parameters"]
    assert described["steps"] == started["steps"]
    assert described["tasks"] == started["tasks"]
    assert [site["name"] for site in described["sites"]] == ["layer0_ffn", "layer1_ffn"]


class Observer:
    """A plugin that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def mtlora_run_started(self, recipe: Mapping[str, Any]) -> None:
        """Hear of the start."""
        self.heard.append(f"started {recipe['name']}")

    @hookimpl
    def mtlora_step(self, record: Mapping[str, Any]) -> None:
        """Hear of a step."""
        self.heard.append(f"step {record['step']}")

    @hookimpl
    def mtlora_evaluated(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Hear of an evaluation."""
        self.heard.append(f"evaluated {folder.name} {record['step']}")

    @hookimpl
    def mtlora_run_finished(self, record: Mapping[str, Any]) -> None:
        """Hear of the end."""
        self.heard.append(f"finished {record['step']}")


@pytest.mark.parametrize("named", [True, False])
def test_an_observer_hears_of_the_runs_that_name_it(tmp_path: Path, named: bool) -> None:
    observer = Observer()
    recipe = toy_recipe(train={"steps": 2}, observe=["watcher"] if named else [])
    plan = resolve(load_recipe(recipe), toy_registry(watcher=observer))
    list(run(plan, tmp_path / "run", device="cpu"))

    heard = ["started toy", "step 1", "step 2", "evaluated run 2", "finished 2"]
    assert observer.heard == (heard if named else [])


class Guard:
    """Ends a run before its last step, once."""

    def __init__(self) -> None:
        self.ended = False

    @hookimpl
    def mtlora_step(self, record: Mapping[str, Any]) -> None:
        """Say that it is enough."""
        if record["step"] == 2 and not self.ended:
            self.ended = True
            raise ValueError("enough")


def test_what_an_observer_raises_ends_the_run_which_can_go_on(tmp_path: Path) -> None:
    guard = Guard()
    recipe = toy_recipe(train={"steps": 2, "save_every": 1}, observe=["guard"])
    plan = resolve(load_recipe(recipe), toy_registry(guard=guard))

    with pytest.raises(ValueError, match="enough"):
        list(run(plan, tmp_path / "run", device="cpu"))
    assert guard.ended
    events = list(run(plan, tmp_path / "run", device="cpu", resume=True))

    assert events[-1]["event"] == "finished"
    assert [e["step"] for e in events if e["event"] == "step"] == [2]


def test_fewer_steps_may_be_asked_for(tmp_path: Path) -> None:
    events = list(run(plan_with(), tmp_path / "run", device="cpu", steps=2))

    assert events[-1]["step"] == 2
    assert plan_of(tmp_path / "run", toy_registry()).recipe.train.steps == 2


def test_free_folders_count_up(tmp_path: Path) -> None:
    with ExitStack() as open_at_once:
        folders = [open_at_once.enter_context(free_folder(tmp_path, "mtlora")) for _ in range(3)]
        (folders[1] / "recipe.yaml").touch()
        assert [folder.name for folder in folders] == ["mtlora", "mtlora-2", "mtlora-3"]

    assert [folder.exists() for folder in folders] == [False, True, False]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()

    with pytest.raises(RunFolderError, match="cannot be made: Not a directory"):
        free_folder(tmp_path / "runs", "mtlora").__enter__()


def test_metrics_that_are_shorter_than_the_checkpoint_knows_are_not_filled_up(
    tmp_path: Path,
) -> None:
    stop_after(run(plan_with(), tmp_path / "run", device="cpu"), 10)
    metrics = tmp_path / "run" / "metrics.jsonl"
    lost = metrics.read_bytes()[:100]
    metrics.write_bytes(lost)

    with pytest.raises(RunFolderError, match=r"has 100 bytes where the checkpoint knows of \d+"):
        resumed(tmp_path / "run")
    assert metrics.read_bytes() == lost


def test_the_lock_changes_with_one_byte_of_data() -> None:
    plan, device = plan_with(), torch.device("cpu")
    data = load_tasks(plan)
    other = replace(data[0], test=[*data[0].test[:-1], Example("x", 1)])

    changed = make_lock(plan, [other, *data[1:]], device)
    lines = differences(make_lock(plan, data, device), changed)
    assert [line.partition(":")[0] for line in lines] == ["data.toy0"]


def test_the_hash_of_a_plugin_changes_with_one_byte_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    first = hash_package("some_plugin")
    (package / "__init__.py").write_text("a = 2\n")

    assert hash_package("some_plugin") != first


def test_a_module_that_was_made_rather_than_imported_has_no_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "notebook", ModuleType("notebook"))

    assert hash_package("notebook") is None


def test_a_run_may_leave_the_test_split_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished(tmp_path / "whole")
    for scores in ("split_table", "baselines"):
        monkeypatch.setattr(sys.modules[run.__module__], scores, None)

    blind = finished(tmp_path / "blind", evaluate={"test": False})

    assert (blind[-1]["test"], blind[-1]["mean"]) == ({}, {})
    means = [event["mean"] for event in whole if event["event"] == "evaluated"]
    assert blind[-1]["best_mean"] == max(means)
    kept = [read(tmp_path / name / "adapter.safetensors")[0] for name in ("whole", "blind")]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
