"""Training under a gradient transform: what a step promises, and what stays as without one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_language
from torch import Tensor
from toys import toy_recipe, toy_registry

import mtlora_torchjd
import mtlora_transformers
from mtlora_core.component import Component
from mtlora_core.compose import attach, compose, load_tasks
from mtlora_core.errors import CompositionError, TrainingError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.interfaces import TaskGradients
from mtlora_core.load import load
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import TransformOptions
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.run import describe, run
from mtlora_core.train import fit
from mtlora_core.train.gradients import rows
from mtlora_transformers.testing import save_tiny

TRAIN: dict[str, Any] = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "evaluate_every": 100}
HYDRA = {"use": "hydra", "count": 4, "rank": 4, "alpha": 16, "dropout": 0.0}
ORTHOGONAL = "orthogonal-gradient"


class Summed:
    """A transform that gives joint training."""

    def __init__(self, options: TransformOptions, tasks: Sequence[str], groups: int) -> None:
        pass

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the sum of the rows."""
        return [torch.cat([rows.sum(0) for rows in group]) for group in gradients.groups]


class Lopsided(Summed):
    """A transform of weights that differ by group and by task."""

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the sum of the rows, that of task t in group m times ``m + 10 t``."""
        groups = torch.tensor(gradients.indices)[:, None]
        weights = groups + 10.0 * torch.tensor(gradients.task_ids)
        return gradients.weighted(weights.to(gradients.gramians))


class Nothing(Summed):
    """A transform that takes everything away, so that what is left never went through it."""

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return zeros."""
        return [torch.zeros_like(each) for each in super().__call__(gradients)]


class Strict(Summed):
    """A transform that cannot do with what is not finite."""

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the sum of rows that are finite."""
        assert gradients.gramians.isfinite().all(), "a solver's own words"
        return super().__call__(gradients)


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the transforms of these tests."""
    options, capabilities = "mtlora_core.options:TransformOptions", {"transforms_gradients": True}
    return [
        Component(
            kind="regularizer",
            name=kind.__name__.lower(),
            options=options,
            build=f"{__name__}:{kind.__name__}",
            summary="a toy",
            capabilities=capabilities,
        )
        for kind in (Summed, Lopsided, Nothing, Strict)
    ]


REGISTRY = toy_registry(
    transformers=mtlora_transformers,
    language=toy_language,
    torchjd=mtlora_torchjd,
    here=sys.modules[__name__],
)


def plan_with(*regularizers: Any, train: Mapping[str, Any] | None = None, **changes: Any) -> Plan:
    whole = {"train": {**TRAIN, **(train or {})}, **changes}
    recipe = toy_recipe(regularizers=[*regularizers], **whole)
    return resolve(load_recipe(recipe), REGISTRY)


def trained(plan: Plan) -> MultiTaskModel:
    data = load_tasks(plan)
    model = compose(plan, data)
    for _ in fit(model, data, plan.recipe.train, seed=plan.recipe.seed, device="cpu"):
        pass
    return model


def state_after(*regularizers: Any, **changes: Any) -> dict[str, Tensor]:
    return trained(plan_with(*regularizers, **changes)).trained_state()


def largest_difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


# A step


@pytest.mark.parametrize("scope", ["per-matrix", "per-layer", "global"])
def test_rows_that_are_only_summed_give_joint_training(scope: str) -> None:
    joint, summed = state_after(), state_after({"use": "summed", "scope": scope})

    torch.testing.assert_close(summed, joint, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("forwards", [1, 2])
def test_the_record_has_each_task_s_mean_weight_over_all_groups(forwards: int) -> None:
    plan = plan_with("lopsided", train={"accumulate": forwards})
    data = load_tasks(plan)
    model = compose(plan, data)
    # One transform a matrix: as many groups as adapters have parameters.
    middle = (sum(1 for _ in model.adapters.parameters()) - 1) / 2
    tasks = [task.name for task in model.tasks]
    events = list(fit(model, data, plan.recipe.train, seed=0, device="cpu"))

    records = [event for event in events if event["event"] == "step"]
    assert records
    for record in records:
        present = {name: middle + 10 * tasks.index(name) for name in record["losses"]}
        assert record["gradient_weights"] == pytest.approx(present)


@pytest.mark.parametrize("regularizers", [[], ["summed"]])
def test_the_record_has_no_weights_where_nothing_weighs(regularizers: list[str]) -> None:
    plan = plan_with(*regularizers, measure={"conflicts": {"every": 1}})
    data = load_tasks(plan)
    model, measure = compose(plan, data), plan.recipe.measure
    events = list(fit(model, data, plan.recipe.train, measure=measure, seed=0, device="cpu"))

    assert any("conflicts" in event for event in events)  # so the rows were there to be weighed
    assert all("gradient_weights" not in event for event in events)


def test_causal_tasks_have_rows_as_any_other() -> None:
    causal: dict[str, Any] = {
        "backbone": "toy-language",
        "tasks": {"use": "repeat", "classes": True},
        "train": {**TRAIN, "loss": {"average": "tokens"}},
    }

    torch.testing.assert_close(
        state_after("summed", **causal), state_after(**causal), rtol=1e-3, atol=1e-5
    )


def test_one_task_alone_has_nothing_to_conflict_with() -> None:
    one = {"tasks": {"use": "toy", "count": 1}}

    torch.testing.assert_close(
        state_after(ORTHOGONAL, **one), state_after(**one), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    "change", [{"scope": "per-layer"}, {"scope": "global"}, {"order": "fixed"}], ids=str
)
def test_every_option_changes_what_is_learnt(change: dict[str, Any]) -> None:
    tasks = {"use": "toy", "count": 5}
    usual = state_after(ORTHOGONAL, tasks=tasks)

    changed = state_after({"use": ORTHOGONAL, **change}, tasks=tasks)

    assert largest_difference(usual, state_after(tasks=tasks)) > 1e-4
    assert largest_difference(usual, changed) > 1e-5


def test_of_two_tasks_the_global_scope_is_pcgrad_as_torchjd_has_it() -> None:
    # With two tasks there is one order.
    tasks = {"use": "toy", "count": 2}
    ours = state_after({"use": ORTHOGONAL, "scope": "global"}, tasks=tasks, experts=HYDRA)
    theirs = state_after("pcgrad", tasks=tasks, experts=HYDRA)

    assert largest_difference(theirs, state_after(tasks=tasks, experts=HYDRA)) > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scope", ["per-matrix", "per-layer", "global"])
def test_aggregators_of_torchjd_take_every_scope(scope: str) -> None:
    tasks = {"use": "toy", "count": 5}
    joint = state_after(tasks=tasks)
    projected = state_after({"use": "upgrad", "scope": scope}, tasks=tasks)

    assert largest_difference(joint, projected) > 1e-4


def seeds_of(recipe_seed: int) -> list[int]:
    """Return what random choices of a transform would come from, step by step."""
    plan = plan_with("summed", seed=recipe_seed)
    data = load_tasks(plan)
    model = compose(plan, data)
    assert model.adapters.transform is not None
    summed, seen = model.adapters.transform, []

    def keep(gradients: TaskGradients) -> Sequence[Tensor]:
        seen.append(gradients.seed)
        return summed.transform(gradients)

    model.adapters.transform = replace(summed, transform=keep)
    for _ in fit(model, data, plan.recipe.train, seed=recipe_seed, device="cpu"):
        pass
    return seen


def test_random_choices_come_from_the_recipe_s_seed_and_the_step() -> None:
    assert seeds_of(3) == seeds_of(3)
    assert len({*seeds_of(3), *seeds_of(4)}) == 2 * TRAIN["steps"]


def test_the_seed_decides_everything() -> None:
    tasks = {"use": "toy", "count": 5}
    first, again = (state_after(ORTHOGONAL, tasks=tasks) for _ in range(2))

    assert largest_difference(first, again) == 0


@pytest.mark.parametrize("scope", ["per-matrix", "global"])
def test_rows_are_summed_over_forwards_and_transformed_once(scope: str) -> None:
    transform = {"use": ORTHOGONAL, "scope": scope}
    whole, split = (
        state_after(transform, train={"steps": 1, "accumulate": n}, experts=HYDRA) for n in (1, 4)
    )

    # Adam's first step is the gradient's sign, so only gradients near 0 could differ visibly.
    torch.testing.assert_close(whole, split, rtol=1e-3, atol=1e-4)


def test_checkpointing_gives_the_gradients_of_training_without_it() -> None:
    plain = state_after(ORTHOGONAL, "balance")
    checkpointed = state_after(ORTHOGONAL, "balance", train={"checkpointing": True})

    assert largest_difference(plain, checkpointed) < 1e-6


@pytest.mark.parametrize("experts", [HYDRA, {"use": "moe", "count": 2, "rank": 4}], ids=str)
@pytest.mark.parametrize("router", ["token", "task-embedding"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_forward_has_exactly_one_backward_pass(
    monkeypatch: pytest.MonkeyPatch, accumulate: int, router: str, experts: dict[str, Any]
) -> None:
    passes: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            passes.append(name)
            return real(*args, **kwargs)

        return counting

    for name in ("backward", "grad"):
        monkeypatch.setattr(torch.autograd, name, counted(name, getattr(torch.autograd, name)))
    state_after(
        ORTHOGONAL, "balance", train={"accumulate": accumulate}, router=router, experts=experts
    )

    assert passes == ["backward"] * TRAIN["steps"] * accumulate


def test_a_gradient_that_is_not_finite_never_reaches_the_transform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 1)  # rows are combined before the loss is looked at
    plan = plan_with("strict", train={"batch_size": 128})
    data = load_tasks(plan)
    model = compose(plan, data)
    with torch.no_grad():
        model.heads[1].weight.fill_(float("nan"))  # type: ignore[operator]  # a Linear

    with pytest.raises(TrainingError, match="step 1: the loss of task 'toy1' is nan"):
        list(fit(model, data, plan.recipe.train, device="cpu"))


# Penalties


def gradients_after(plan: Plan) -> dict[str, Tensor]:
    """Return what a first step's gradients of adapters and routers are, before it is taken."""
    kept: dict[str, Tensor] = {}
    data = load_tasks(plan)
    model = compose(plan, data)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.normal_(std=0.3, generator=generator)

    def keep(*_: Any) -> None:
        for name, parameter in model.adapters.named_parameters():
            if parameter.grad is not None:
                kept[name] = parameter.grad.clone()

    torch.optim.AdamW.step, real = _before(keep), torch.optim.AdamW.step  # type: ignore[method-assign]
    try:
        next(iter(fit(model, data, plan.recipe.train, device="cpu")))
    finally:
        torch.optim.AdamW.step = real  # type: ignore[method-assign]
    return kept


def _before(keep: Callable[..., None]) -> Callable[..., None]:
    def step(self: Any, *args: Any) -> None:
        keep()

    return step


NO_CLIP = {"clip": None, "steps": 1}


def test_a_penalty_on_weights_never_goes_through_the_transform() -> None:
    spectral = {"use": "spectral-aware", "weight": 3.0}
    alone = gradients_after(plan_with("nothing", spectral, train=NO_CLIP, experts=HYDRA))
    with_, without = (
        gradients_after(plan_with(ORTHOGONAL, *each, train=NO_CLIP, experts=HYDRA))
        for each in ([spectral], [])
    )

    ups = [name for name in alone if name.endswith("experts.up")]
    assert all(alone[name].any() for name in ups)
    assert not any(value.any() for name, value in alone.items() if name not in ups)
    torch.testing.assert_close({n: with_[n] - without[n] for n in alone}, alone)


def test_a_penalty_on_routing_moves_routers_alone_and_untransformed() -> None:
    balance = {"use": "balance", "weight": 100.0}
    alone = gradients_after(plan_with("nothing", balance, train=NO_CLIP, experts=HYDRA))
    joint = gradients_after(plan_with(balance, train=NO_CLIP, experts=HYDRA))
    plain = gradients_after(plan_with(train=NO_CLIP, experts=HYDRA))

    routers = [name for name in alone if ".router." in name]
    assert all(alone[name].any() for name in routers)
    assert not any(value.any() for name, value in alone.items() if name not in routers)
    # The last site has no later one that its penalty could flow through.
    last = routers[-1]
    torch.testing.assert_close(alone[last], joint[last] - plain[last], rtol=1e-3, atol=1e-5)


def test_a_penalty_on_routing_is_in_no_task_s_row() -> None:
    balance = {"use": "balance", "weight": 100.0}
    with_, without = (
        gradients_after(plan_with("summed", *each, train=NO_CLIP, experts=HYDRA))
        for each in ([balance], [])
    )

    experts = {name for name in without if ".experts." in name}
    torch.testing.assert_close(
        {name: with_[name] for name in experts}, {name: without[name] for name in experts}
    )


# A run


def events(plan: Plan, folder: Path, **how: Any) -> Iterator[dict[str, Any]]:
    return run(plan, folder, device="cpu", **how)


@pytest.mark.parametrize("step", [1, 5])
def test_a_run_killed_under_a_transform_and_resumed_equals_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    train = {"steps": 8, "evaluate_every": 4, "save_every": 2, "accumulate": 2}
    plan = plan_with({"use": ORTHOGONAL, "scope": "per-layer"}, "balance", train=train)
    list(events(plan, tmp_path / "whole"))
    for event in events(plan, tmp_path / "broken"):
        if event.get("step") == step:
            break
    list(events(plan, tmp_path / "broken", resume=True))

    whole, broken = (
        load(tmp_path / name, registry=REGISTRY).trained_state() for name in ("whole", "broken")
    )
    assert largest_difference(whole, broken) == 0


@pytest.mark.parametrize(
    ("name", "transform"), [("ortho-lora", ORTHOGONAL), ("upgrad", "upgrad")], ids=str
)
def test_the_example_runs_and_differs_from_that_of_lora_by_its_transform_alone(
    name: str, transform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    tiny = save_tiny(tmp_path / "bert", "bert")
    examples = Path(__file__).parents[1] / "examples"
    small = {
        "backbone": {"use": "transformers", "model": str(tiny), "max_length": 16},
        "tasks": {"use": "toy"},
        "train": {"steps": 3, "batch_size": 8},
    }
    plans = [
        resolve(load_recipe({"extends": str(examples / f"{name}.yaml"), **small}), REGISTRY)
        for name in ("lora", name)
    ]
    last = list(events(plans[1], tmp_path / "run"))[-1]

    lora, other = (plan.to_json() for plan in plans)
    assert other.pop("regularizers")[0]["use"].endswith(f"/{transform}")
    assert {**other, "name": "lora"} == {k: v for k, v in lora.items() if k != "regularizers"}
    assert last["event"] == "finished"


def test_a_dry_run_says_what_keeping_rows_takes() -> None:
    plan = plan_with({"use": ORTHOGONAL, "scope": "global"}, experts="mtl", router="task")
    described = describe(plan)

    assert described["rows_kept"] == ["scope: global"]
    shared = 2 * (8 * 16 + 16 * 3 * 8)  # A and B of two sites; the rest is each task's own
    assert described["rows"] == {"tasks": 3, "parameters": shared}


def test_a_loop_of_the_user_s_own_cannot_have_a_transform() -> None:
    model = compose(plan_with()).backbone.module
    recipe = load_recipe(toy_recipe(regularizers=[ORTHOGONAL]))

    with pytest.raises(CompositionError, match="'orthogonal-gradient' transforms the gradients"):
        attach(model, recipe, tasks=["a"], registry=REGISTRY)
