"""A part that is built, and then is or gives something else than its contract says, is named."""

from __future__ import annotations

import errno
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import plugin
from torch import Tensor, nn
from toys import toy_recipe, toy_registry

from mtlora_core.ablate import executor_of
from mtlora_core.ablate.folder import AblationFolder
from mtlora_core.component import Component, Kind
from mtlora_core.compose import compose, load_tasks
from mtlora_core.context import TaskContext
from mtlora_core.errors import PluginError
from mtlora_core.interfaces import (
    Experts,
    LossWeighting,
    Router,
    Routing,
    SiteInput,
    StepLosses,
    TaskGradients,
)
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import Options, PenaltyOptions, TransformOptions
from mtlora_core.recipe import PartSpec, load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import Plan, resolve
from mtlora_core.train import fit

PENALTY = {"penalizes": "weights"}
ROUTING = {"penalizes": "routing"}
TRANSFORM = {"transforms_gradients": True}
WEIGHTING = {"weighs_losses": "current"}


def build(*given: Any, **how: Any) -> Any:
    """Build the part; a test chooses another."""
    raise NotImplementedError


class FrozenOptions(Options):
    """Nothing to choose."""


class RoughPenaltyOptions(PenaltyOptions):
    """Nothing to choose."""


class RoughTransformOptions(TransformOptions):
    """Nothing to choose."""


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Return what chooses the part's build."""
    return lambda chosen: monkeypatch.setattr(sys.modules[__name__], "build", chosen)


def plan_with(kind: Kind, capabilities: dict[str, Any], **more: Any) -> Plan:
    """Resolve the toys' recipe with the rough part in it."""
    if "penalizes" in capabilities:
        options: type[Options] = RoughPenaltyOptions
    else:
        options = RoughTransformOptions if "transforms_gradients" in capabilities else FrozenOptions
    text = f"{__name__}:{options.__name__}"
    if kind == "backbone":
        text = "toys:ToyBackboneOptions"
    component = Component(
        kind, "rough", text, f"{__name__}:build", "rough", capabilities=capabilities
    )
    changes: dict[str, Any] = {**more, kind: {"use": "rough"}}
    if kind == "regularizer":
        changes = {"regularizers": ["rough"]}
    recipe = load_recipe(toy_recipe(**changes))
    return resolve(recipe, toy_registry(theirs=plugin(component)))


def model_with(capabilities: dict[str, Any]) -> MultiTaskModel:
    return compose(plan_with("regularizer", capabilities))


def told(kind: str, action: Callable[[], object]) -> str:
    """Return what an action that fails says of the part, behind the part's name."""
    with pytest.raises(PluginError) as caught:
        action()
    (problem,) = caught.value.problems
    start = f"the plugin 'theirs' is broken: {kind} 'rough': "
    assert problem.startswith(start)
    return problem.removeprefix(start)


@pytest.mark.parametrize(
    ("kind", "capabilities", "contract"),
    [
        ("backbone", {}, "Backbone"),
        ("experts", {"mixes": ("group",)}, "Experts"),
        ("router", {"per": "token"}, "Router"),
        ("regularizer", PENALTY, "Penalty"),
        ("regularizer", TRANSFORM, "GradientTransform"),
        ("regularizer", WEIGHTING, "LossWeighting"),
    ],
)
def test_a_build_that_gives_something_else_is_told(
    kind: Kind,
    capabilities: dict[str, Any],
    contract: str,
    building: Callable[[Callable[..., Any]], None],
) -> None:
    plan = plan_with(kind, capabilities)
    building(lambda *given, **how: 3)

    reason = told(kind, lambda: compose(plan))

    assert reason == f"its build gave 3, and {contract} is expected"


def test_tasks_that_are_no_list_are_told(building: Callable[[Callable[..., Any]], None]) -> None:
    plan = plan_with("tasks", {})
    building(lambda *given, **how: 3)

    reason = told("tasks", lambda: load_tasks(plan))

    assert reason == "its build gave 3, and Sequence is expected"


def test_tasks_that_are_no_task_data_are_told(
    building: Callable[[Callable[..., Any]], None],
) -> None:
    plan = plan_with("tasks", {})
    building(lambda *given, **how: [{"name": "mine"}])

    reason = told("tasks", lambda: load_tasks(plan))

    assert reason == "its build gave {'name': 'mine'}, and TaskData is expected"


def test_an_executor_that_starts_nothing_is_told(
    building: Callable[[Callable[..., Any]], None], tmp_path: Path
) -> None:
    component = Component("executor", "rough", f"{__name__}:FrozenOptions", f"{__name__}:build", "")
    registry = Registry({"theirs": plugin(component)})
    building(lambda *given, **how: 3)

    reason = told(
        "executor",
        lambda: executor_of(PartSpec("rough"), registry, jobs=1, home=AblationFolder(tmp_path)),
    )

    assert reason == "its build gave 3, and Executor is expected"


def test_a_build_that_takes_something_else_is_told(
    building: Callable[[Callable[..., Any]], None],
) -> None:
    plan = plan_with("router", {"per": "token"})
    building(lambda options: None)

    reason = told("router", lambda: compose(plan))

    assert reason.startswith("its build raised TypeError: ")


def test_a_file_that_a_build_misses_is_told_as_its_fault(
    building: Callable[[Callable[..., Any]], None], tmp_path: Path
) -> None:
    plan = plan_with("tasks", {})
    building(lambda *given, **how: (tmp_path / "missing").read_text())

    reason = told("tasks", lambda: load_tasks(plan))

    assert reason.startswith("its build raised FileNotFoundError: ")
    assert f"({__file__}:" in reason


class Timeout(OSError):
    """As requests has it."""


@pytest.mark.parametrize(
    "short",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA"),
        OSError(errno.ENOSPC, "no space left"),
        OSError(errno.EMFILE, "too many open files"),
        OSError(errno.ENETUNREACH, "no network"),
        ConnectionResetError(),
        TimeoutError(),
        Timeout("the hub says nothing"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_machine_is_short_of_is_not_the_part_s_fault(
    short: Exception, building: Callable[[Callable[..., Any]], None]
) -> None:
    def fail(*given: Any) -> None:
        raise short

    plan = plan_with("router", {"per": "token"})
    building(fail)

    with pytest.raises(type(short)) as caught:
        compose(plan)
    assert caught.value is short


class Bare(Router):
    """A router that returns its weights, and says nothing of them."""

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return a mean."""
        return hidden.mean()  # type: ignore[return-value]


class Lost(Experts):
    """Experts that return nothing."""

    count = 4

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(1, 4, 1))

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Forget to return it."""
        return None  # type: ignore[return-value]

    @property
    def up_factors(self) -> Tensor:
        """``up``."""
        return self.up


@pytest.mark.parametrize("regularizers", [[], ["orthogonal-gradient"]], ids=["joint", "by-task"])
@pytest.mark.parametrize(
    ("kind", "capabilities", "part", "reason"),
    [
        ("router", {"per": "token"}, Bare, "Routing is expected"),
        ("experts", {"mixes": ("group",)}, Lost, "None, and Tensor is expected"),
    ],
    ids=["router", "experts"],
)
def test_a_forward_that_gives_something_else_is_told(
    kind: Kind,
    capabilities: dict[str, Any],
    part: Callable[[], Any],
    reason: str,
    regularizers: list[str],
    building: Callable[[Callable[..., Any]], None],
) -> None:
    plan = plan_with(kind, capabilities, regularizers=regularizers)
    building(lambda *given: part())
    model = pickle.loads(pickle.dumps(compose(plan)))

    found = told(kind, lambda: stepped(model, plan))

    assert found.startswith("forward() gave ")
    assert found.endswith(reason)


def penalized(model: MultiTaskModel) -> dict[str, Tensor]:
    """Return the penalties of a forward in training."""
    model.train()
    ids = torch.tensor([[1, 2, 3]])
    with model.adapters.context.serving(torch.zeros(1, dtype=torch.long)):
        model.backbone.module(ids, torch.ones_like(ids).bool())
    return model.adapters.penalty_terms()


@pytest.mark.parametrize(
    ("capabilities", "penalty", "reason"),
    [
        (PENALTY, lambda e, r: e.up_factors.square().mean((0, 2)), "gave a tensor of shape [4]"),
        (PENALTY, lambda e, r: 0.5, "gave 0.5, and a scalar tensor is expected"),
        (PENALTY, lambda e, r: torch.tensor(0.25), "gave 0.25 without a graph, which trains"),
        (ROUTING, lambda e, r: r.weights.detach().max(), "without a graph, which trains nothing"),
    ],
    ids=["vector", "number", "constant", "detached"],
)
def test_a_penalty_that_is_no_scalar_or_teaches_nothing_is_told_with_its_site(
    capabilities: dict[str, Any],
    penalty: Callable[[Experts, Routing], Any],
    reason: str,
    building: Callable[[Callable[..., Any]], None],
) -> None:
    building(lambda options: penalty)
    model = model_with(capabilities)

    found = told("regularizer", lambda: penalized(model))

    assert found.startswith("at site layer0_ffn it gave ")
    assert reason in found


def failing(*given: Any) -> Any:
    """Look for what is not there."""
    parts: dict[str, Any] = {}
    return parts["theirs"]


def test_a_penalty_that_fails_is_told_with_its_site_and_the_line_of_its_code(
    building: Callable[[Callable[..., Any]], None],
) -> None:
    building(lambda options: failing)
    model = model_with(PENALTY)

    found = told("regularizer", lambda: penalized(model))

    assert found.startswith(f"at site layer0_ffn it raised KeyError: 'theirs' ({__file__}:")


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_penalty_may_be_a_constant_where_there_is_nothing_to_penalize_or_to_train(
    value: float, building: Callable[[Callable[..., Any]], None]
) -> None:
    building(lambda options: lambda experts, routing: torch.tensor(value))
    model = model_with(PENALTY)
    model.adapters.requires_grad_(value == 0)

    assert penalized(model)["rough"] == value


def stepped(model: MultiTaskModel, plan: Plan) -> None:
    """Take one step."""
    options = plan.recipe.train.model_copy(update={"steps": 1})
    list(fit(model, load_tasks(plan), options, seed=0))


def summed(gradients: TaskGradients) -> list[Tensor]:
    return [matrix.sum(0) for matrix in gradients.matrices()]


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (lambda g: None, "it gave a NoneType, and a sequence of tensors is expected"),
        (lambda g: [v[:-1] for v in summed(g)], "it gave tensors of shapes [["),
        (lambda g: summed(g) * 2, "it gave tensors of shapes [["),
        (lambda g: [v.double() for v in summed(g)], "it gave torch.float64 on cpu for rows in "),
        (lambda g: [v / 0 for v in summed(g)], "it gave a gradient that is not finite, of task"),
        (failing, "it raised KeyError: 'theirs' ("),
    ],
    ids=["nothing", "short", "twice", "double", "infinite", "failing"],
)
def test_a_transform_that_gives_no_gradient_of_its_groups_is_told(
    transform: Callable[[TaskGradients], Any],
    reason: str,
    building: Callable[[Callable[..., Any]], None],
) -> None:
    building(lambda options, tasks, groups: transform)
    plan = plan_with("regularizer", TRANSFORM)
    model = compose(plan)

    assert told("regularizer", lambda: stepped(model, plan)).startswith(reason)


class Weigher(LossWeighting):
    """Weighs by what a test says."""

    def __init__(self, weigh: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.weigh = weigh

    def weights(self, step: StepLosses) -> Tensor:
        """Return whatever it is."""
        found: Tensor = self.weigh(step.losses)
        return found


@pytest.mark.parametrize(
    ("weigh", "reason"),
    [
        (lambda losses: losses[:1], "weights() gave [1], and a tensor of shape ["),
        (lambda losses: losses.tolist(), "weights() gave ["),
        (lambda losses: losses / 0, "weights() gave [inf, "),
        (failing, "weights() raised KeyError: 'theirs' ("),
    ],
    ids=["short", "list", "infinite", "failing"],
)
def test_a_weighting_that_weighs_not_each_task_is_told(
    weigh: Callable[[Tensor], Any],
    reason: str,
    building: Callable[[Callable[..., Any]], None],
) -> None:
    building(lambda options, tasks: Weigher(weigh))
    plan = plan_with("regularizer", WEIGHTING)
    model = compose(plan)

    assert told("regularizer", lambda: stepped(model, plan)).startswith(reason)


class Unteachable(LossWeighting):
    """Weighs nothing, and fails to learn."""

    def weights(self, step: StepLosses) -> Tensor:
        """Leave every task as it is."""
        return torch.ones_like(step.losses)

    def after_step(self, step: StepLosses) -> None:
        """Look for what is not there."""
        failing()


def test_a_weighting_that_fails_to_learn_is_told(
    building: Callable[[Callable[..., Any]], None],
) -> None:
    building(lambda options, tasks: Unteachable())
    plan = plan_with("regularizer", WEIGHTING)
    model = compose(plan)

    reason = told("regularizer", lambda: stepped(model, plan))

    assert reason.startswith("after_step() raised KeyError: 'theirs' (")
