"""Adapters on transformers' models of pictures: identity, training, saving, checkpointing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import toy_recipe, toy_registry

import mtlora_transformers
from mtlora_core import load
from mtlora_core.compose import compose
from mtlora_core.inputs import Pixels
from mtlora_core.model import MultiTaskModel
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.runfolder import RunFolder
from mtlora_core.tasks import Example, Task, TaskData
from mtlora_core.train import fit
from mtlora_transformers.testing import families_reading, save_tiny

REGISTRY = toy_registry(transformers=mtlora_transformers)
COMPONENT = {"use": "component", "at": ["q", "v", "up"]}
BLOCK = {"use": "block", "at": ["attention", "ffn"]}
families = pytest.mark.parametrize("family", families_reading("image"))
placements = pytest.mark.parametrize("placement", [COMPONENT, BLOCK], ids=["component", "block"])


def examples(count: int) -> list[Example]:
    """Return squares that are bright on the left or on the right."""
    drawn = np.random.default_rng(0).integers(0, 60, (count, 32, 32, 1), dtype=np.uint8)
    for number, each in enumerate(drawn):
        each[:, 16 * (number % 2) :][:, :16] += 180
    return [Example(Pixels(e.tobytes(), 32, 32, 1), n % 2) for n, e in enumerate(drawn)]


def data() -> list[TaskData]:
    rows = examples(40)
    return [
        TaskData(Task(name, labels=("left", "right")), rows[:24], rows[24:32], rows[32:])
        for name in ("first", "second")
    ]


def plan_of(folder: Path, **changes: Any) -> Plan:
    recipe = toy_recipe(
        **{
            "backbone": {"use": "transformers", "model": str(folder)},
            "train": {"steps": 8, "batch_size": 8, "learning_rate": 1e-2},
            **changes,
        }
    )
    return resolve(load_recipe(recipe), REGISTRY)


def outputs(model: MultiTaskModel) -> Tensor:
    rows = model.backbone.encode([example.input for example in examples(4)])
    return torch.stack(model.outputs(rows, [0, 1, 0, 1]))


@families
@placements
def test_a_model_of_pictures_trains_and_is_the_same_when_loaded(
    family: str, placement: Mapping[str, Any], tmp_path: Path
) -> None:
    plan = plan_of(save_tiny(tmp_path / "model", family), placement=placement)
    model = compose(plan, data())
    fresh = outputs(model)
    model.adapters.detach()
    assert torch.equal(outputs(model), fresh)
    model.adapters.attach(model.backbone.module)

    events = list(fit(model, data(), plan.recipe.train, device="cpu"))

    trained = outputs(model)
    assert events[-1]["event"] == "evaluated"
    assert not torch.allclose(trained, fresh, atol=1e-3)
    home = RunFolder(tmp_path / "run")
    home.create(plan.to_json(), lock={})
    home.write_adapter(model, plan.to_json())
    assert torch.equal(outputs(load(home.path, registry=REGISTRY, device="cpu")), trained)


@families
def test_checkpointing_changes_no_gradient(family: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, family)
    found = []
    for checkpointing in (False, True):
        train = {"steps": 1, "batch_size": 4, "checkpointing": checkpointing}
        experts = {"use": "hydra", "count": 4, "rank": 4, "dropout": 0}
        plan = plan_of(folder, placement=BLOCK, train=train, experts=experts)
        model = compose(plan, data()).train()
        inputs = model.backbone.collate(
            model.backbone.encode([example.input for example in examples(4)])
        )
        answers = model(inputs, [0, 1, 0, 1])
        sum(output.outputs.square().sum() for output in answers.values()).backward()
        found.append([p.grad for p in model.adapters.parameters()])

    assert any(grad is not None and grad.any() for grad in found[0])
    torch.testing.assert_close(found[1], found[0])
