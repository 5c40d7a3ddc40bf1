"""What regularizers remember from step to step: saved, given back, and undone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import toy_recipe, toy_registry

import mtlora_torchjd
from mtlora_core.component import Component
from mtlora_core.compose import compose, load_tasks
from mtlora_core.errors import CompositionError, TrainingError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.interfaces import LossWeighting, StepLosses, TaskGradients
from mtlora_core.load import load
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import Options, TransformOptions
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.run import run
from mtlora_core.tensors import read
from mtlora_core.train.engine import make_engine
from mtlora_core.train.gradients import rows
from mtlora_core.train.memory import memory, remember, undoing
from mtlora_core.train.session import Session, start
from mtlora_core.train.step import take_step


class Counting(nn.Module):
    """A transform that counts the groups it saw, and gives joint training."""

    def __init__(self, options: TransformOptions, tasks: Sequence[str], groups: int) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(groups, len(tasks)))

    def forward(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the sum of the rows."""
        ids = torch.tensor(gradients.task_ids)
        self.calls[torch.tensor(gradients.indices)[:, None], ids] += 1  # type: ignore[index,operator]
        return gradients.weighted(torch.ones_like(gradients.gramians[:, 0]))


class Summing(LossWeighting):
    """A weighting that adds up the losses it is told, and how often it is asked."""

    def __init__(self, options: Options, tasks: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer("told", torch.zeros(len(tasks), dtype=torch.float64))
        self.register_buffer("asked", torch.zeros(()))

    def weights(self, step: StepLosses) -> Tensor:
        """Return ones."""
        self.asked += 1  # type: ignore[operator,assignment]
        return torch.ones(len(step.task_ids))

    def after_step(self, step: StepLosses) -> None:
        """Add the losses."""
        self.told[[*step.task_ids]] += step.losses  # type: ignore[index,operator]


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the regularizers of these tests."""
    described: list[tuple[type, str, dict[str, Any]]] = [
        (Counting, "TransformOptions", {"transforms_gradients": True}),
        (Summing, "Options", {"weighs_losses": "earlier"}),
    ]
    return [
        Component(
            kind="regularizer",
            name=kind.__name__.lower(),
            options=f"mtlora_core.options:{options}",
            build=f"{__name__}:{kind.__name__}",
            summary="a toy",
            capabilities=capabilities,
        )
        for kind, options, capabilities in described
    ]


REGISTRY = toy_registry(torchjd=mtlora_torchjd, here=sys.modules[__name__])
TRAIN: dict[str, Any] = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "evaluate_every": 6}
SHORT: Mapping[str, Mapping[str, Any]] = {"dwa": {"every": 1}}
"""Options by which a part does within a few steps what it is for."""
OF_STEPS = [
    part.component.name
    for part in REGISTRY.parts()
    if part.component.transforms_gradients or part.component.weighs_losses
]


def plan_with(*regularizers: Any, train: Mapping[str, Any] | None = None) -> Plan:
    whole = {"train": {**TRAIN, **(train or {})}}
    return resolve(load_recipe(toy_recipe(regularizers=[*regularizers], **whole)), REGISTRY)


def session_of(*regularizers: Any, train: Mapping[str, Any] | None = None) -> Session:
    plan = plan_with(*regularizers, train=train)
    data = load_tasks(plan)
    model = compose(plan, data)
    engine = make_engine("fp32", "cpu")
    return start(model, data, plan.recipe.train, seed=0, engine=engine)


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == "step"]


def weights(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what a step's record says of the tasks' losses and of their gradients."""
    return record.get("weights"), record.get("gradient_weights")


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def skip_without_its_solver(plan: Plan) -> None:
    try:
        compose(plan)
    except CompositionError as error:
        if "pip install" not in str(error):
            raise
        pytest.skip(str(error))


# A run


@pytest.mark.parametrize("name", OF_STEPS)
def test_a_run_killed_and_resumed_equals_an_unbroken_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    plan = plan_with({"use": name, **SHORT.get(name, {})}, train={"save_every": 2})
    skip_without_its_solver(plan)
    list(run(plan, tmp_path / "whole", device="cpu"))
    for event in run(plan, tmp_path / "broken", device="cpu"):
        if event.get("step") == 5:
            break
    list(run(plan, tmp_path / "broken", device="cpu", resume=True))

    whole, broken = (load(tmp_path / f, registry=REGISTRY) for f in ("whole", "broken"))
    assert_same(whole.trained_state(), broken.trained_state())
    first, second = ([weights(r) for r in records(tmp_path / f)] for f in ("whole", "broken"))
    assert first == second


def remembered_after(name: str, *, forget: bool) -> dict[str, Tensor]:
    """Return the trained tensors of steps between which the memory is made anew or not."""
    session = session_of({"use": name, **SHORT.get(name, {})})
    fresh = memory(session.model.adapters)
    for _ in range(4):
        take_step(session)
        if forget:
            remember(session.model.adapters, fresh)
    return session.model.trained_state()


@pytest.mark.parametrize("name", ["gradvac", "grad-norm", "uncertainty-weighting", "dwa", "famo"])
def test_what_is_remembered_matters(name: str) -> None:
    kept, forgotten = (remembered_after(name, forget=each) for each in (False, True))

    assert max(float((kept[n] - forgotten[n]).abs().max()) for n in kept) > 1e-5


def test_memory_is_saved_with_a_checkpoint_and_not_with_the_adapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    list(run(plan_with("counting", "summing"), tmp_path / "run", device="cpu"))

    checkpoint = read(tmp_path / "run" / "checkpoint" / "state.safetensors")[0]
    saved = {name for name in checkpoint if name.startswith("regularizer.")}
    assert saved == {
        f"regularizer.{n}" for n in ("transform.calls", "weighting.told", "weighting.asked")
    }
    adapter = read(tmp_path / "run" / "adapter.safetensors")[0]
    assert not any("told" in name or "calls" in name for name in adapter)


def test_the_memory_of_other_tasks_is_refused() -> None:
    adapters = session_of("summing").model.adapters

    with pytest.raises(CompositionError, match=r"weighting\.told"):
        remember(adapters, {"weighting.told": torch.zeros(99), "weighting.asked": torch.zeros(())})


# A step


def test_a_step_tells_a_transform_its_groups_and_tasks_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 1)  # every group by itself
    session = session_of({"use": "counting", "scope": "per-layer"}, train={"batch_size": 1})
    seen = [pick.task for pick in session.picks()]
    take_step(session)

    calls = memory(session.model.adapters)["transform.calls"]
    assert calls.shape == (2, 3)  # two layers, three tasks
    assert calls.nonzero().tolist() == [[0, seen[0]], [1, seen[0]]]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_tells_a_weighting_each_task_s_mean_loss(accumulate: int) -> None:
    session = session_of("summing", train={"accumulate": accumulate})
    told = [0.0] * 3
    for _ in range(3):
        record = take_step(session)
        for task, loss in record["losses"].items():
            told[int(task.removeprefix("toy"))] += loss

    found = memory(session.model.adapters)
    assert found["weighting.told"].tolist() == pytest.approx(told)
    assert found["weighting.asked"] == 3


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_tells_a_transform_each_task_s_mean_loss(accumulate: int) -> None:
    session, seen = session_of("counting", train={"accumulate": accumulate}), []
    scoped = session.model.adapters.transform
    assert scoped is not None
    scoped.transform.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda module, args: seen.append(args[0].losses)
    )
    record = take_step(session)

    assert seen[-1].tolist() == pytest.approx([*record["losses"].values()])


@pytest.mark.parametrize("name", ["gradvac", "grad-norm", "uncertainty-weighting", "dwa", "famo"])
def test_a_step_that_overflows_teaches_nothing(name: str) -> None:
    session = session_of({"use": name, **SHORT.get(name, {})}, train={"batch_size": 64})
    for _ in range(2):
        take_step(session)
    before, trained = memory(session.model.adapters), clone(session.model)
    session.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    # Of a head's gradient alone, so that the rows are finite and the transform is called.
    weight = session.model.heads[0].weight
    assert isinstance(weight, nn.Parameter)
    handle = weight.register_hook(lambda gradient: gradient * torch.inf)
    record = take_step(session)
    handle.remove()

    assert not math.isfinite(record["gradient_norm"])
    assert session.scaler.get_scale() == 4
    assert_same(memory(session.model.adapters), before)
    assert_same(session.model.trained_state(), trained)
    assert math.isfinite(take_step(session)["gradient_norm"])
    after = memory(session.model.adapters)
    assert any(not torch.equal(after[each], before[each]) for each in after)


def clone(model: MultiTaskModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.trained_state().items()}


def test_a_step_that_fails_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", 1)  # the transform is called during the backward pass
    session = session_of("counting", "summing", train={"batch_size": 64})
    take_step(session)
    before = memory(session.model.adapters)
    with torch.no_grad():
        session.model.heads[1].weight.fill_(float("nan"))  # type: ignore[operator]  # a Linear

    with pytest.raises(TrainingError):
        take_step(session)

    assert_same(memory(session.model.adapters), before)


def test_undoing_leaves_what_was_taken() -> None:
    adapters = session_of("summing").model.adapters
    assert adapters.weighting is not None
    step = StepLosses((0,), torch.ones(1).double(), 0, 0)

    with undoing(adapters) as undo:
        adapters.weighting.weighting.after_step(step)
    assert memory(adapters)["weighting.told"].tolist() == [1, 0, 0]
    undo()
    assert memory(adapters)["weighting.told"].tolist() == [0, 0, 0]
