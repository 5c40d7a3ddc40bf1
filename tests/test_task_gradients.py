"""Rows of one backward pass are the gradients of T backward passes, for whatever is installed."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from taskrows import SPY, Spy, clear, collector, model_of, separate, shared, task_losses, together
from torch import Tensor, nn
from toys import toy_recipe, toy_registry

import mtlora_timm
import mtlora_transformers
from mtlora_core.component import Component
from mtlora_core.context import TaskContext
from mtlora_core.errors import CompositionError, MtloraError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.interfaces import Experts, Router, Routing, SiteInput
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import Options
from mtlora_core.recipe import load_recipe
from mtlora_core.regularizers import ScopedTransform
from mtlora_core.resolve import resolve
from mtlora_core.sites import Site
from mtlora_core.train.gradients import rows
from mtlora_timm.testing import save_tiny as save_tiny_vit
from mtlora_transformers.testing import save_tiny

UNEQUAL = [0, 0, 0, 1, 3, 3]
"""The tasks of a batch: counts differ, and the third is absent."""


class Double(torch.autograd.Function):
    """Twice its input, by an autograd function of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Double."""
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Double."""
        return 2 * grad


class Awkward(Experts):
    """Whatever a third party may write, as long as it treats rows apart.

    Data-dependent shapes, ``.item()``, an autograd function of its own, a nested module, a
    parameter under a nonlinear function and one that only some rows use.
    """

    def __init__(self, options: Options, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = 2
        self.down = nn.Linear(site.d, 3)
        self.up = nn.Parameter(torch.zeros(site.o, 2, 3))
        self.rare = nn.Parameter(torch.zeros(site.o))

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update, row by row."""
        assert routing is not None
        return torch.stack([self._row(site, routing, i) for i in range(site.hidden.shape[0])])

    def _row(self, site: SiteInput, routing: Routing, row: int) -> Tensor:
        low: Tensor = Double.apply(self.down(site.hidden[row]))  # type: ignore[no-untyped-call]
        kept = low[:, 0] > low[:, 1]  # how many tokens depends on the data
        weights = routing.weights if routing.per == "model" else routing.weights[row]
        weights = weights.reshape(-1, weights.shape[-1]).mean(0).to(low.dtype)
        update = low @ torch.einsum("oer,e->ro", torch.tanh(self.up), weights)
        update = update.index_add(0, kept.nonzero()[:, 0], low[kept] @ self.up[:, 0].T)
        if low.sum().item() > 0:
            update = update + self.rare
        return update

    @property
    def up_factors(self) -> Tensor:
        """B."""
        return self.up


class Whole(Router):
    """One learned mixture for everything."""

    def __init__(self, options: Options, site: Site, experts: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(experts))

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[e]``."""
        return Routing(self.logits.softmax(-1), "model")


class Pooled(Router):
    """A mixture for each sequence, from the mean of its real tokens."""

    def __init__(self, options: Options, site: Site, experts: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.gate = nn.Linear(site.d, experts)

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[b, e]``, with weights that only some of the experts keep."""
        mask = context.mask_for(hidden)
        assert mask is not None
        real = mask[..., None].to(hidden.dtype)
        dense = self.gate((hidden * real).sum(1) / real.sum(1)).softmax(-1)
        return Routing(dense * (dense > dense.mean()), "sequence", dense=dense)


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the third-party parts."""
    options, here = "mtlora_core.options:Options", __name__
    mixes = {"mixes": ("model", "sequence")}
    return [
        Component("experts", "awkward", options, f"{here}:Awkward", "a", capabilities=mixes),
        Component("router", "whole", options, f"{here}:Whole", "w", capabilities={"per": "model"}),
        Component(
            "router", "pooled", options, f"{here}:Pooled", "p", capabilities={"per": "sequence"}
        ),
    ]


REGISTRY = toy_registry(
    transformers=mtlora_transformers, timm=mtlora_timm, here=sys.modules[__name__]
)


def named(kind: str) -> list[str]:
    return [part.component.name for part in REGISTRY.parts() if part.component.kind == kind]


@cache
def tiny(family: str) -> Mapping[str, Any]:
    """Return a backbone: an encoder, a decoder or a vision transformer."""
    folder = Path(mkdtemp())
    if family == "vit":
        return {"use": "timm", **save_tiny_vit(folder)}
    return {"use": "transformers", "model": str(save_tiny(folder, family)), "max_length": 16}


def recipe_of(family: str | None, **changes: Any) -> dict[str, Any]:
    backbone = {"use": "toy"} if family is None else tiny(family)
    return {**toy_recipe(regularizers=[], **changes), "backbone": backbone}


def fits(family: str | None, placement: str, experts: str, router: str | None) -> bool:
    recipe = recipe_of(family, placement=placement, experts=experts, router=router)
    try:
        resolve(load_recipe(recipe), REGISTRY)
    except MtloraError:
        return False
    return True


TRIPLES = [
    triple
    for triple in product(named("placement"), named("experts"), [*named("router"), None])
    if fits(None, *triple)
]


def toy(dtype: torch.dtype = torch.float64, **changes: Any) -> MultiTaskModel:
    return model_of(recipe_of(None, **changes), REGISTRY, dtype)


def relative(actual: Tensor, expected: Tensor) -> float:
    error = (actual.double() - expected.double()).norm()
    return float(error / expected.double().norm().clamp(min=1e-30))


def assert_agree(model: MultiTaskModel, *forwards: Sequence[int], **how: Any) -> None:
    expected, actual = separate(model, forwards), together(model, forwards, **how)
    assert not expected or any(each.any() for each in expected.values())
    for name, value in expected.items():
        assert relative(actual[name], value) < 1e-10, name


def assert_agree_in_float32(model: MultiTaskModel, forwards: Sequence[Sequence[int]]) -> None:
    """Assert agreement within 1e-5, or within what float32 itself loses in T backward passes."""
    exact = separate(copy.deepcopy(model).double(), forwards)
    expected, actual = separate(model, forwards), together(model, forwards)
    for name, value in exact.items():
        lost = relative(expected[name], value)
        assert relative(actual[name], value) < max(1e-5, 3 * lost), name


FAST: dict[str, Any] = {
    "experts": {"use": "hydra", "count": 3, "rank": 2, "dropout": 0.2},
    "router": {"use": "fine-grained", "groups": 2},
}
GENERIC: dict[str, Any] = {"experts": {"use": "multilora", "rank": 2}, "router": None}
AWKWARD: dict[str, Any] = {"experts": "awkward", "router": "pooled"}
PATHS = {"fast": FAST, "generic": GENERIC, "awkward": AWKWARD}
paths = pytest.mark.parametrize("path", PATHS)


# Whatever is installed


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("bert", torch.float64),
        ("bert", torch.float32),
        ("llama", torch.float64),
        ("vit", torch.float64),
    ],
    ids=str,
)
@pytest.mark.parametrize(("placement", "experts", "router"), TRIPLES, ids=str)
def test_rows_are_those_of_a_backward_pass_a_task(
    family: str, dtype: torch.dtype, placement: str, experts: str, router: str | None
) -> None:
    if not fits(family, placement, experts, router):
        pytest.skip("this router looks ahead")
    recipe = recipe_of(family, placement=placement, experts=experts, router=router)
    model = model_of(recipe, REGISTRY, dtype)

    if dtype == torch.float64:
        assert_agree(model, UNEQUAL)
    else:
        assert_agree_in_float32(model, [UNEQUAL])


def test_every_installed_part_is_in_a_combination_that_works() -> None:
    for place, kind in enumerate(("placement", "experts", "router")):
        assert {triple[place] for triple in TRIPLES} - {None} == {*named(kind)}


# Whatever a batch may look like

BATCHES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=6).map(sorted), min_size=1, max_size=3
)


@paths
@settings(max_examples=12, deadline=None)
@given(
    forwards=BATCHES,
    scope=st.sampled_from(["per-matrix", "per-layer", "global"]),
    checkpointing=st.booleans(),
)
def test_rows_agree_for_any_tasks_forwards_scope_and_checkpointing(
    path: str, forwards: list[list[int]], scope: Any, checkpointing: bool
) -> None:
    model = toy(**PATHS[path])
    if checkpointing:
        model.backbone.checkpoint(model.adapters.context.checkpoint_contexts)
        model.backbone.train()

    assert_agree(model, *forwards, scope=scope)


@pytest.mark.parametrize("experts", ["awkward", "hydra", "mtl"])
@pytest.mark.parametrize("router", ["whole", "pooled"])
def test_routers_of_a_third_party_serve_any_experts(experts: str, router: str) -> None:
    assert_agree(toy(experts=experts, router=router), UNEQUAL)


@pytest.mark.parametrize("placement", ["component", "block"])
def test_rows_agree_under_dropout_for_the_same_masks(placement: str) -> None:
    model = toy(placement=placement, **FAST).train()
    torch.manual_seed(0)
    first = task_losses(model, UNEQUAL)[0]

    assert first != task_losses(model, UNEQUAL)[0], "there is no dropout"
    assert_agree(model, UNEQUAL)


@paths
def test_rows_agree_under_autocast(path: str) -> None:
    model = toy(torch.float32, **PATHS[path])
    expected = separate(model, [UNEQUAL], autocast=True)
    actual = together(model, [UNEQUAL], autocast=True)

    exact = separate(model, [UNEQUAL])
    for name, value in exact.items():
        assert relative(actual[name], value) < max(1e-2, 2 * relative(expected[name], value)), name
        assert actual[name].dtype == torch.float32


def test_the_fast_path_runs_each_part_once_and_the_generic_one_once_a_task() -> None:
    runs = {}
    for path in ("fast", "generic"):
        model = toy(**PATHS[path])
        counted: list[int] = []
        for adapter in model.adapters:
            adapter.experts.register_forward_hook(lambda *_, to=counted: to.append(1))
        together(model, [UNEQUAL])
        runs[path] = len(counted) / len(model.adapters.sites)

    assert runs == {"fast": 1, "generic": 3}


def test_parameters_of_a_task_s_own_have_no_rows_and_the_gradient_of_joint_training() -> None:
    model = toy(experts="mtl", router="task")
    torch.stack([*task_losses(model, UNEQUAL).values()]).sum().backward()
    own = {
        n: p for n, p in model.adapters.named_parameters() if n.endswith(("transform", "logits"))
    }
    expected = {name: p.grad.clone() for name, p in own.items() if p.grad is not None}
    actual = together(model, [UNEQUAL])

    assert len(expected) == 4
    assert not any(name.endswith(("transform", "logits")) for name in actual)
    torch.testing.assert_close({name: p.grad for name, p in own.items()}, expected)


@paths
def test_rows_add_up_to_the_gradient_of_joint_training(path: str) -> None:
    model = toy(**PATHS[path])
    torch.stack([*task_losses(model, UNEQUAL).values()]).sum().backward()
    expected = {name: p.grad.clone() for name, p in shared(model).items() if p.grad is not None}
    actual = together(model, [UNEQUAL])

    torch.testing.assert_close({name: actual[name].sum(0) for name in expected}, expected)


# What is kept, and for how long


def kept_rows(model: MultiTaskModel, scope: Any, forwards: int = 1) -> tuple[list[int], int]:
    """Return how many groups each call of the transform saw, and those of them during backward."""
    spy = Spy()
    model.adapters.transform = ScopedTransform(SPY, scope, spy)
    collected = collector(model, [0, 1, 3], forwards=forwards)
    clear(model)
    with collected.collecting():
        torch.stack([*task_losses(model, UNEQUAL).values()]).sum().backward()
        during = len(spy.seen)
    collected.finish()
    return [len(gradients.groups) for gradients in spy.seen], during


def test_rows_are_combined_while_the_backward_pass_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", 1)
    model = toy(**FAST)
    matrices = len(shared(model))

    assert kept_rows(model, "per-matrix") == ([1] * matrices, matrices)
    assert kept_rows(model, "per-layer") == ([1, 1], 2)
    assert kept_rows(model, "global") == ([1], 0)
    assert kept_rows(model, "per-matrix", forwards=2) == ([1] * matrices, 0)


def test_a_few_rows_wait_for_each_other() -> None:
    model = toy(**FAST)

    assert kept_rows(model, "per-matrix") == ([len(shared(model))], 0)


def test_nothing_is_left_of_the_task_axis_after_a_step() -> None:
    model = toy(**FAST)
    together(model, [UNEQUAL])

    assert model.adapters.context.axis is None
    assert not any(vars(p) for p in model.adapters.parameters())
    clear(model)
    torch.stack([*task_losses(model, UNEQUAL).values()]).sum().backward()
    assert all(p.grad is not None for p in shared(model).values())


def test_the_scale_of_a_loss_is_taken_from_rows_and_given_to_gradients() -> None:
    model, spy = toy(**FAST), Spy()
    model.adapters.transform = ScopedTransform(SPY, "per-matrix", spy)
    plain = together(model, [UNEQUAL])
    clear(model)
    model.adapters.transform = ScopedTransform(SPY, "per-matrix", spy)
    scaled = collector(model, [0, 1, 3], scale=8.0)
    with scaled.collecting():
        torch.manual_seed(0)
        (8 * torch.stack([*task_losses(model, UNEQUAL).values()]).sum()).backward()
    scaled.finish()

    seen = [row for gradients in spy.seen for group in gradients.groups for row in group]
    assert sum(float(r.sum()) for r in seen) == pytest.approx(
        sum(float(r.sum()) for r in plain.values())
    )
    for name, parameter in shared(model).items():
        torch.testing.assert_close(parameter.grad, 8 * plain[name].sum(0))


# What is refused


def test_rows_that_are_not_ordered_by_task_are_refused() -> None:
    with pytest.raises(CompositionError, match="ordered by task"):
        together(toy(**FAST), [[1, 0, 1]])


def test_a_part_that_wrongly_says_it_is_segmented_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Awkward, "segmented", True)

    with pytest.raises(CompositionError, match=r"experts\.(up|down).* without task rows"):
        together(toy(**AWKWARD), [UNEQUAL])
