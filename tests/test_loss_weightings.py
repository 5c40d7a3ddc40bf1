"""Training with a loss weighting: what a step promises, and what stays as without one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import toys
from pydantic import NonNegativeFloat
from torch import Tensor
from toys import toy_recipe, toy_registry

import mtlora_torchjd
from mtlora_core.component import Component
from mtlora_core.compose import attach, compose, load_tasks
from mtlora_core.errors import CompositionError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.interfaces import LossWeighting, StepLosses, TaskGradients
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import Options, TransformOptions
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.tasks import TaskData
from mtlora_core.train import fit
from mtlora_core.train.engine import make_engine
from mtlora_core.train.session import start

TRAIN: dict[str, Any] = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "evaluate_every": 100}
HYDRA = {"use": "hydra", "count": 4, "rank": 4, "alpha": 16, "dropout": 0.0}
WEIGHTS = (0.5, 2.0, 0.25)
Record = Mapping[str, Any]


class FixedOptions(Options):
    """Options of a weighting that is always the same."""

    each: tuple[NonNegativeFloat, ...] = WEIGHTS
    """The weights."""


class Fixed(LossWeighting):
    """A weighting that is always the same."""

    def __init__(self, options: FixedOptions, tasks: Sequence[str]) -> None:
        super().__init__()
        self.each = torch.tensor(options.each, dtype=torch.float64)

    def weights(self, step: StepLosses) -> Tensor:
        """Return the weights of the tasks that are present."""
        assert step.losses.isnan().all()
        return self.each[[*step.task_ids]]


class Inverse(LossWeighting):
    """A weighting by the step's own losses."""

    def __init__(self, options: Options, tasks: Sequence[str]) -> None:
        super().__init__()

    def weights(self, step: StepLosses) -> Tensor:
        """Return what makes every task's mean loss 1."""
        return 1 / step.losses


class Keeping:
    """A transform that keeps what it sees and gives joint training."""

    seen: list[TaskGradients]

    def __init__(self, options: TransformOptions, tasks: Sequence[str], groups: int) -> None:
        self.seen = []

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the sum of the rows."""
        self.seen.append(gradients)
        return gradients.weighted(torch.ones_like(gradients.gramians[:, 0]))


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the regularizers of these tests."""
    here = __name__
    return [
        Component(
            "regularizer",
            "fixed",
            f"{here}:FixedOptions",
            f"{here}:Fixed",
            "a toy",
            capabilities={"weighs_losses": "earlier"},
        ),
        Component(
            "regularizer",
            "inverse",
            "mtlora_core.options:Options",
            f"{here}:Inverse",
            "a toy",
            capabilities={"weighs_losses": "current"},
        ),
        Component(
            "regularizer",
            "keeping",
            "mtlora_core.options:TransformOptions",
            f"{here}:Keeping",
            "a toy",
            capabilities={"transforms_gradients": True},
        ),
    ]


REGISTRY = toy_registry(torchjd=mtlora_torchjd, here=sys.modules[__name__])
WEIGHTINGS = [p.component for p in REGISTRY.parts() if p.component.weighs_losses]
EARLIER = [
    c.name for c in WEIGHTINGS if c.capabilities["weighs_losses"] == "earlier" and c.name != "fixed"
]


def plan_with(*regularizers: Any, train: Mapping[str, Any] | None = None, **changes: Any) -> Plan:
    whole = {"experts": HYDRA, "train": {**TRAIN, **(train or {})}, **changes}
    return resolve(load_recipe(toy_recipe(regularizers=[*regularizers], **whole)), REGISTRY)


def trained(*regularizers: Any, **changes: Any) -> tuple[MultiTaskModel, list[Record]]:
    plan = plan_with(*regularizers, **changes)
    data = load_tasks(plan)
    model = compose(plan, data)
    options = plan.recipe.train
    events = list(fit(model, data, options, seed=plan.recipe.seed, device="cpu"))
    return model, [event for event in events if event["event"] == "step"]


def state_after(*regularizers: Any, **changes: Any) -> dict[str, Tensor]:
    return trained(*regularizers, **changes)[0].trained_state()


def largest_difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


# What weights do


@pytest.mark.parametrize("more", [[], ["balance", "spectral-aware"], ["keeping"]], ids=str)
def test_weights_of_one_are_joint_training_bit_for_bit(more: list[Any]) -> None:
    equal = {"use": "fixed", "each": [1, 1, 1]}

    assert largest_difference(state_after(equal, *more), state_after(*more)) == 0


def test_weights_are_those_that_a_recipe_may_give_to_its_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, weighed = (state_after(*each, "spectral-aware") for each in ([], ["fixed"]))
    real = toys._task

    def task_of_weight(t: int, options: toys.ToyTasksOptions) -> TaskData:
        data = real(t, options)
        return replace(data, task=replace(data.task, weight=WEIGHTS[t]))

    monkeypatch.setattr(toys, "_task", task_of_weight)
    given = state_after("spectral-aware")

    assert largest_difference(plain, given) > 1e-3
    torch.testing.assert_close(weighed, given, rtol=1e-4, atol=1e-6)


def test_penalties_are_not_weighed() -> None:
    nothing = {"use": "fixed", "each": [0, 0, 0]}
    _, records = trained(nothing, {"use": "spectral-aware", "weight": 3.0}, train={"steps": 1})

    assert records[0]["loss"] == pytest.approx(sum(records[0]["penalties"].values()))
    assert records[0]["losses"].keys() == records[0]["weights"].keys()
    assert all(value > 0.1 for value in records[0]["losses"].values())


def test_a_record_has_the_weights_of_the_tasks_that_are_present() -> None:
    _, records = trained("fixed", train={"batch_size": 2})

    for record in records:
        assert record["weights"] == {n: WEIGHTS[int(n[-1])] for n in record["losses"]}
    assert any(len(record["losses"]) < 3 for record in records)
    assert "weights" not in trained()[1][0]


def rows_after(*regularizers: Any) -> list[TaskGradients]:
    model, _ = trained(*regularizers, "keeping", train={"steps": 1, "batch_size": 64})
    scoped = model.adapters.transform
    assert scoped is not None
    assert isinstance(scoped.transform, Keeping)
    return scoped.transform.seen


def test_a_transform_gets_the_rows_of_weighed_losses() -> None:
    for plain, weighed in zip(rows_after(), rows_after("fixed"), strict=True):
        torch.testing.assert_close(plain.losses, weighed.losses)
        for before, after in zip(plain.matrices(), weighed.matrices(), strict=True):
            torch.testing.assert_close(after, before * torch.tensor(WEIGHTS)[:, None])


# Losses of the step itself


def test_a_step_s_own_losses_are_those_of_all_its_examples() -> None:
    _, records = trained("inverse", train={"batch_size": 16, "loss": {"average": "tasks"}})

    for record in records:
        for name, weight in record["weights"].items():
            assert weight == pytest.approx(1 / record["losses"][name])
        assert record["loss"] == pytest.approx(1)


def test_several_forwards_know_their_step_s_losses_too_late() -> None:
    with pytest.raises(
        CompositionError, match=r"'inverse' weighs .* train\.accumulate: 2"
    ) as caught:
        plan_with("inverse", train={"accumulate": 2})
    assert "write train.accumulate: 1" in str(caught.value)

    plan = plan_with("inverse")
    data = load_tasks(plan)
    options = plan.recipe.train.model_copy(update={"accumulate": 2})
    with pytest.raises(CompositionError, match="accumulate=2"):
        start(compose(plan, data), data, options, seed=0, engine=make_engine())


@pytest.mark.parametrize("name", EARLIER)
def test_several_forwards_learn_the_weights_of_one(name: str) -> None:
    part = {"use": name, **({"every": 1} if name == "dwa" else {})}
    train = {"learning_rate": 1e-5, "batch_size": 6, "steps": 6}
    one, several = (trained(part, train={**train, "accumulate": n})[1] for n in (1, 3))

    assert any(abs(w - 1) > 1e-3 for each in one for w in each["weights"].values())
    for before, now in zip(one, several, strict=True):
        assert now["weights"] == pytest.approx(before["weights"], rel=1e-4)
        assert now["gradient_norm"] == pytest.approx(before["gradient_norm"], rel=1e-3)


# Installed weightings


@pytest.mark.parametrize("component", WEIGHTINGS, ids=lambda c: c.name)
def test_every_weighting_trains_and_says_its_weights(component: Component) -> None:
    usual, records = trained({"use": component.name}, train={"steps": 5})

    assert all(each["weights"].keys() == each["losses"].keys() for each in records)
    assert all(value >= 0 for each in records for value in each["weights"].values())
    again = trained({"use": component.name}, train={"steps": 5})[0]
    assert largest_difference(usual.trained_state(), again.trained_state()) == 0


def test_a_recipe_has_one_weighting_at_most() -> None:
    with pytest.raises(CompositionError, match="'dwa' weighs losses, and so does 'famo' at reg"):
        plan_with("famo", "dwa")


def test_a_loop_of_the_user_s_own_cannot_have_a_weighting() -> None:
    model = compose(plan_with()).backbone.module

    with pytest.raises(CompositionError, match="'famo' weighs the losses of a step"):
        attach(
            model, load_recipe(toy_recipe(regularizers=["famo"])), tasks=["a"], registry=REGISTRY
        )
