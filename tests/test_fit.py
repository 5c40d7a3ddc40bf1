"""Training: what each option does, and what a step promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import toy_recipe, toy_registry

from mtlora_core.compose import compose, load_tasks
from mtlora_core.errors import TrainingError
from mtlora_core.interfaces import Router, Routing, StepRouting
from mtlora_core.model import MultiTaskModel
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.train import fit, step
from mtlora_core.train.engine import make_engine
from mtlora_core.train.loop import advance
from mtlora_core.train.session import start

STEPS = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "evaluate_every": 100}


def plan_with(train: Mapping[str, Any] | None = None, **changes: Any) -> Plan:
    recipe = toy_recipe(**{"train": {**STEPS, **(train or {})}, **changes})
    return resolve(load_recipe(recipe), toy_registry())


def trained(plan: Plan) -> tuple[MultiTaskModel, list[dict[str, Any]]]:
    data = load_tasks(plan)
    model = compose(plan, data)
    return model, list(fit(model, data, plan.recipe.train, seed=plan.recipe.seed, device="cpu"))


def state_after(train: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Tensor]:
    return trained(plan_with(train, **changes))[0].trained_state()


def largest_difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


WITHOUT_DROPOUT = {"use": "hydra", "count": 4, "rank": 4, "alpha": 16, "dropout": 0.0}


def test_the_loss_falls_and_the_backbone_stays() -> None:
    plan = plan_with({"steps": 60})
    before = compose(plan).backbone.state_dict()
    model, events = trained(plan)

    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert all(
        torch.equal(before[name], value) for name, value in model.backbone.state_dict().items()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-2},
        {"head_learning_rate": 1e-4},
        {"weight_decay": 0.5},
        {"schedule": "cosine"},
        {"schedule": "constant"},
        {"warmup": 0.5},
        {"clip": 1e-3},
        {"batch_size": 4},
        {"steps": 3},
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"sampling": "uniform"},
        {"sampling": {"by": "temperature", "temperature": 5.0}},
        {"loss": {"average": "tasks"}},
    ],
    ids=str,
)
def test_every_option_changes_what_is_learnt(change: dict[str, Any]) -> None:
    assert largest_difference(state_after(), state_after(change)) > 1e-6


def test_the_seed_decides_everything() -> None:
    assert largest_difference(state_after(seed=3), state_after(seed=3)) == 0
    assert largest_difference(state_after(seed=3), state_after(seed=4)) > 1e-3


def test_training_leaves_other_draws_of_its_caller_alone_in_composition() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    compose(plan_with())

    assert torch.equal(torch.rand(3), expected)


def test_accumulated_forwards_add_up_to_one_batch() -> None:
    # A penalty on routing is computed per forward, so it is left out.
    parts: dict[str, Any] = {"experts": WITHOUT_DROPOUT, "regularizers": ["spectral-aware"]}
    whole = state_after({"steps": 1}, **parts)
    split = state_after({"steps": 1, "accumulate": 4}, **parts)

    assert largest_difference(whole, compose(plan_with(**parts)).trained_state()) > 0
    # Adam's first step is the gradient's sign, so only gradients near 0 could differ visibly.
    torch.testing.assert_close(whole, split, rtol=1e-3, atol=1e-4)


def test_epochs_count_passes_over_the_examples() -> None:
    plan = plan_with({"steps": None, "epochs": 1.5, "evaluate_every": None})
    sizes = [len(each.train) for each in load_tasks(plan)]
    _, events = trained(plan)

    steps = [event for event in events if event["event"] == "step"]
    assert len(steps) == math.ceil(1.5 * math.ceil(sum(sizes) / 8))
    assert [e["step"] for e in events if e["event"] == "evaluated"] == [
        math.ceil(sum(sizes) / 8),
        len(steps),
    ]


def test_patience_stops_and_the_best_weights_are_kept() -> None:
    plan = plan_with({"steps": 200, "evaluate_every": 5, "patience": 2, "learning_rate": 5e-2})
    _, events = trained(plan)

    evaluated = [event for event in events if event["event"] == "evaluated"]
    means = [event["mean"] for event in evaluated]
    best = means.index(max(means))
    assert len(evaluated) == best + 3
    assert evaluated[best]["best"]
    assert evaluated[-1]["step"] < 200


def test_keep_last_differs_from_keep_best_once_validation_worsens() -> None:
    train = {"steps": 200, "evaluate_every": 5, "patience": 2, "learning_rate": 5e-2}
    best, last = state_after(train), state_after({**train, "keep": "last"})

    assert largest_difference(best, last) > 1e-3


def test_checkpointing_gives_the_gradients_of_training_without_it() -> None:
    assert largest_difference(state_after(), state_after({"checkpointing": True})) < 1e-6


def test_checkpointing_works_on_a_backbone_left_in_eval_mode() -> None:
    plan = plan_with({"checkpointing": True})
    data = load_tasks(plan)
    model = compose(plan, data)
    model.backbone.eval()
    for _ in fit(model, data, plan.recipe.train, seed=0, device="cpu"):
        pass

    assert largest_difference(state_after(), model.trained_state()) < 1e-6


def test_a_task_s_weight_is_a_factor_of_its_loss() -> None:
    plan = plan_with({"steps": 1})
    data = load_tasks(plan)
    heavy = [
        type(each)(
            type(each.task)(**{**vars(each.task), "weight": 3.0}),
            each.train,
            each.validation,
            each.test,
        )
        for each in data
    ]
    losses = []
    for tasks in (data, heavy):
        model = compose(plan, tasks)
        event = next(iter(fit(model, tasks, plan.recipe.train, device="cpu")))
        losses.append(event["loss"] - sum(event["penalties"].values()))

    assert losses[1] == pytest.approx(3 * losses[0])


EVERYTHING = 128
"""A batch that holds every example of the toy tasks."""


def test_a_record_holds_each_task_s_mean_loss() -> None:
    plan = plan_with({"steps": 1, "batch_size": EVERYTHING}, regularizers=[])
    data = load_tasks(plan)
    event = next(iter(fit(compose(plan, data), data, plan.recipe.train, device="cpu")))

    sizes = {each.task.name: len(each.train) for each in data}
    weighted = sum(sizes[name] * mean for name, mean in event["losses"].items())
    assert event["losses"].keys() == sizes.keys()
    assert event["loss"] == pytest.approx(weighted / sum(sizes.values()))


def test_a_loss_that_is_not_finite_names_task_and_step_and_changes_nothing() -> None:
    plan = plan_with({"batch_size": EVERYTHING})
    data = load_tasks(plan)
    model = compose(plan, data)
    with torch.no_grad():
        model.heads[1].bias.fill_(math.nan)  # type: ignore[operator]  # a Linear
    before = {name: value.clone() for name, value in model.trained_state().items()}

    with pytest.raises(TrainingError, match="step 1: the loss of task 'toy1' is nan"):
        list(fit(model, data, plan.recipe.train, device="cpu"))

    torch.testing.assert_close(model.trained_state(), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_a_lack_of_memory_says_what_to_try(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        raise error

    plan = plan_with({"batch_size": 32, "accumulate": 2})
    data = load_tasks(plan)
    model = compose(plan, data)
    monkeypatch.setattr(model.backbone, "forward", exhausted)

    with pytest.raises(TrainingError) as caught:
        list(fit(model, data, plan.recipe.train, device="cpu"))

    assert "train.accumulate=4" in str(caught.value)
    assert "train.batch_size=16" in str(caught.value)


@pytest.mark.parametrize(
    ("regularizers", "advice"),
    [([], "a lower experts.rank"), (["orthogonal-gradient"], "scope: per-matrix")],
)
def test_a_lack_of_memory_in_the_update_says_what_helps_there(
    monkeypatch: pytest.MonkeyPatch, regularizers: list[str], advice: str
) -> None:
    def exhausted(*args: object) -> None:
        raise torch.OutOfMemoryError

    plan = plan_with({}, regularizers=regularizers)
    data = load_tasks(plan)
    model = compose(plan, data)
    before = model.trained_state()
    monkeypatch.setattr(step, "sum_gradients", exhausted)

    with pytest.raises(TrainingError, match=f"step 1: out of memory in the update.*{advice}"):
        list(fit(model, data, plan.recipe.train, device="cpu"))

    torch.testing.assert_close(model.trained_state(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())


def test_fp16_whose_gradient_is_never_finite_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_with({"steps": 100})
    data = load_tasks(plan)
    model = compose(plan, data)
    engine = make_engine("fp32", "cpu")
    session = start(model, data, plan.recipe.train, seed=0, engine=engine)
    session.scaler = torch.amp.GradScaler("cpu")
    for parameter in model.heads.parameters():
        parameter.register_hook(lambda gradient: gradient * math.nan)

    with pytest.raises(TrainingError, match="the gradient is nan, however small the scale of fp16"):
        list(advance(session))

    assert 16 < session.progress.step < 50


class Learner(Router):
    """Keeps what its steps taught it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[StepRouting] = []

    def forward(self, hidden: Tensor, context: object) -> Routing:
        """Weigh by position, so that real tokens and padding differ."""
        positions = torch.arange(hidden.shape[1]).float()
        weights = torch.stack([positions, 10 - positions, positions, positions], -1)
        return Routing(weights.expand(hidden.shape[0], -1, -1)[:, :, None] + 0.0, "token")

    def after_step(self, routing: StepRouting) -> None:
        """Keep what the step's routing came to."""
        self.steps.append(routing)


def test_routers_learn_the_load_of_the_whole_step_s_real_tokens() -> None:
    plan = plan_with({"steps": 1, "batch_size": EVERYTHING, "accumulate": 2}, regularizers=[])
    data = load_tasks(plan)
    model = compose(plan, data)
    learner = Learner()
    next(iter(model.adapters)).router = learner
    for _ in fit(model, data, plan.recipe.train, device="cpu"):
        pass

    texts = [example.input for each in data for example in each.train]
    lengths = [row.length for row in model.backbone.encode(texts)]
    position = sum(n * (n - 1) / 2 for n in lengths) / sum(lengths)
    (step,) = learner.steps
    assert step.load.tolist() == pytest.approx([position, 10 - position, position, position])
    behind_the_first = 1 - len(lengths) / sum(lengths)
    assert step.kept.tolist() == pytest.approx([behind_the_first, 1, *[behind_the_first] * 2])


def test_what_routers_learn_is_the_same_however_many_forwards_share_a_step() -> None:
    parts: dict[str, Any] = {
        "experts": {"use": "rank-one", "count": 8, "dropout": 0},
        "router": {"use": "rank-top-k", "k": 2, "rate": 0.25},
        "regularizers": [],
    }
    whole, split = (
        state_after({"steps": 1, "batch_size": EVERYTHING, "accumulate": count}, **parts)
        for count in (1, 4)
    )

    biases = [name for name in whole if name.endswith("router.bias")]
    assert len(biases) == 2
    for name in biases:
        assert set(whole[name].abs().tolist()) == {0.25}, "up or down, at every step"
        assert torch.equal(whole[name], split[name])


def test_penalties_count_once_however_many_forwards_share_a_step() -> None:
    # Heavy, and after a first step, since B = 0 has no penalty.
    parts: dict[str, Any] = {
        "experts": WITHOUT_DROPOUT,
        "regularizers": [{"use": "spectral-aware", "weight": 1e10}],
    }
    train = {"steps": 2, "learning_rate": 1e-3, "clip": None}
    whole, split = (
        trained(plan_with({**train, "accumulate": count}, **parts))[1][1] for count in (1, 4)
    )

    assert whole["penalties"]["spectral-aware"] > whole["loss"] / 2
    assert split["penalties"] == pytest.approx(whole["penalties"], rel=1e-3)
    assert split["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=1e-3)
