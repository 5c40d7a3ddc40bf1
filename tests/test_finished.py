"""What a finished run needs to be read, elsewhere and later than it was trained."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_command import mtlora
from toys import toy_recipe, toy_registry

import mtlora_tasks
import mtlora_transformers
from mtlora_core.compose import compose, load_tasks
from mtlora_core.diagnose import Diagnosis, diagnose
from mtlora_core.errors import CompositionError, MtloraError, VersionWarning
from mtlora_core.export import export
from mtlora_core.load import evaluate, load
from mtlora_core.model import MultiTaskModel
from mtlora_core.recipe import load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import resolve
from mtlora_core.runfolder import RunFolder
from mtlora_transformers.testing import save_tiny

REGISTRY = toy_registry(transformers=mtlora_transformers, tasks=mtlora_tasks)
OLD = {"plugins": {"experts": {"version": "0.0.1", "files": None}}}
"""A lock of a run that was made with other experts."""


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "discover", lambda **how: REGISTRY)


def recipe(folder: Path) -> Mapping[str, Any]:
    """Return a recipe over a tiny model and a file of examples, both in ``folder``."""
    save_tiny(folder / "bert", "bert")
    (folder / "data").mkdir()
    rows = ({"text": word, "label": word} for word in ("a", "b") * 20)
    (folder / "data" / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"name": "t", "train": "t.jsonl", "validation": 0.2, "test": 0.2}
    return toy_recipe(
        backbone={"use": "transformers", "model": str(folder / "bert"), "max_length": 16},
        placement={"use": "component", "at": ["q"]},
        experts={"use": "lora", "rank": 2},
        router=None,
        regularizers=[],
        tasks={"use": "files", "root": str(folder / "data"), "entries": [entry]},
    )


def finished(
    folder: Path, lock: Mapping[str, Any] | None = None, **header: Any
) -> tuple[Path, MultiTaskModel]:
    """Return a run folder as a training would leave it, its recipe changed, and its model."""
    plan = resolve(load_recipe(recipe(folder)), REGISTRY)
    model = compose(plan, load_tasks(plan)).eval()
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.normal_()
    written = {**plan.to_json(), **header}
    home = RunFolder(folder / "run")
    home.create(written, lock or {})
    home.write_adapter(model, written)
    return home.path, model


def answers(model: MultiTaskModel) -> list[Any]:
    return model.predict(["a b", "c"], task="t")


def notes(events: Any) -> list[str]:
    found = [each for each in events if not isinstance(each, Diagnosis)]
    return [event["text"] for event in found if event["event"] == "note"]


def test_a_run_is_read_without_what_watched_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[resolve.__module__], "find_spec", lambda name: None)
    run, model = finished(tmp_path, track=["mlflow"], observe=["my-observer"])

    assert answers(load(run, device="cpu")) == answers(model)
    assert [*evaluate(run, device="cpu")][-1]["event"] == "evaluated"
    assert [*export(run, tmp_path / "out")][-1]["event"] == "exported"


def test_a_model_that_has_moved_is_found_where_an_override_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = finished(tmp_path)
    (tmp_path / "bert").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CompositionError) as caught:
        load(run)

    problem, advice = caught.value.problems
    assert f"there is no folder {tmp_path}/bert" in problem
    assert advice == (
        f"backbone.model: if {tmp_path}/bert has moved, say where it is by "
        "--set backbone.model=PATH, or in Python by overrides=['backbone.model=PATH']"
    )
    assert answers(load(run, device="cpu", overrides=["backbone.model=./moved"])) == answers(model)


def test_data_that_has_moved_is_found_where_an_override_says(tmp_path: Path) -> None:
    run, _ = finished(tmp_path)
    (tmp_path / "data").rename(tmp_path / "moved")

    with pytest.raises(MtloraError, match=r"say where it is by --set tasks\.root=PATH"):
        list(evaluate(run, device="cpu"))

    *_, scored = evaluate(run, device="cpu", overrides=[f"tasks.root={tmp_path}/moved"])
    assert scored["tasks"].keys() == {"t"}


def test_paths_that_are_there_are_no_part_of_another_failure(tmp_path: Path) -> None:
    run, _ = finished(tmp_path)
    (tmp_path / "bert" / "config.json").unlink()

    with pytest.raises(CompositionError) as caught:
        load(run)

    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "run", "a b"],
        ["evaluate", "run", "--device", "cpu"],
        ["export", "run"],
        ["diagnose", "run", "--draws", "1", "--device", "cpu"],
    ],
    ids=lambda words: words[0],
)
def test_the_command_reads_a_run_that_has_moved_and_notes_other_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    finished(tmp_path, OLD)
    (tmp_path / "bert").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)

    assert mtlora(*words).exit_code == 2
    done = mtlora(*words, "--set", "backbone.model=moved")

    assert done.exit_code == 0, done.output
    assert done.stderr.count("note: experts is version") == 1


def test_a_name_of_the_hub_is_no_folder_that_happens_to_be_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "no-such-model-of-the-hub"
    backbone = {"use": "transformers", "model": name, "max_length": 16}
    run, _ = finished(tmp_path, backbone=backbone)
    (tmp_path / "bert").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(CompositionError, match=r"config\.json is neither in the cache"):
        load(run)


def test_other_versions_are_a_warning_in_python_and_notes_elsewhere(tmp_path: Path) -> None:
    run, model = finished(tmp_path, OLD)
    told = "experts is version None, the run was made with 0.0.1"
    told = told.replace("None", resolve(load_recipe(toy_recipe()), REGISTRY).experts.version)

    with pytest.warns(VersionWarning) as caught:
        loaded = load(run, device="cpu")

    assert [str(warning.message) for warning in caught] == [f"{run}: {told}"]
    assert caught[0].filename == __file__
    assert answers(loaded) == answers(model)
    assert notes(evaluate(run, device="cpu")) == [told]
    assert notes(export(run, tmp_path / "out")) == [told]
    assert notes(diagnose(run, draws=1, device="cpu")) == [told]


def test_the_same_versions_and_a_run_without_a_lock_warn_of_nothing(tmp_path: Path) -> None:
    run, _ = finished(tmp_path)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(run, device="cpu")
        (run / "lock.json").unlink()
        load(run, device="cpu")


def test_a_run_folder_may_be_a_text(tmp_path: Path) -> None:
    run, _ = finished(tmp_path)

    assert [*evaluate(str(run), device="cpu", registry=REGISTRY)][-1]["event"] == "evaluated"
    assert isinstance([*diagnose(str(run), draws=1, device="cpu")][-1], Diagnosis)


@pytest.mark.parametrize(
    ("made", "argument", "told"),
    [
        (export, {"format": "gguf"}, "format: 'gguf' is unknown; known: peft, merged"),
        (export, {"dtype": "fp16"}, "dtype: 'fp16' is unknown; known: float32, bfloat16, float16"),
        (evaluate, {"split": "dev"}, "split: 'dev' is unknown; known: train, validation, test"),
    ],
)
def test_an_argument_that_is_unknown_is_refused(
    tmp_path: Path, made: Any, argument: Mapping[str, str], told: str
) -> None:
    where = [tmp_path / "run", tmp_path / "out"] if made is export else [tmp_path / "run"]

    with pytest.raises(MtloraError, match=told):
        list(made(*where, **argument))
