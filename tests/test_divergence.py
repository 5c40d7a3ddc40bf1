"""Experts that a router tells apart diverge in training; those that it cannot are one LoRA.

The pairs are those of the installed parts, told apart by what they declare.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import toy_recipe, toy_registry

from mtlora_core.adapters import Adapter
from mtlora_core.compatibility import mixed, one_in_disguise
from mtlora_core.component import Component, load
from mtlora_core.compose import compose, load_tasks
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import SiteInput
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import MixedOptions
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.sites import Site
from mtlora_core.train import fit
from mtlora_experts.lora import Lora
from mtlora_experts.options import LoraOptions

REGISTRY = toy_registry()
COUNT = 16
"""Experts of each site: more than the sparse routers keep by default."""


def installed(kind: str) -> list[Component]:
    return [each.component for each in REGISTRY.parts() if each.component.kind == kind]


def pairs(*, disguised: bool) -> list[Any]:
    """Return the installed experts and routers that fit, one LoRA by algebra or not."""
    return [
        pytest.param(experts, router, id=f"{experts.name}-{router.name}")
        for experts, router in product(installed("experts"), installed("router"))
        if router.capabilities["per"] in mixed(experts)
        and one_in_disguise(experts, router) == disguised
    ]


def plan_of(experts: Component, router: Component) -> Plan:
    assert issubclass(load(experts.options), MixedOptions)
    recipe = toy_recipe(
        backbone={"use": "toy", "width": 24},
        placement={"use": "component", "at": ["q"]},
        experts={"use": experts.name, "count": COUNT},
        router=router.name,
        regularizers=[],
        train={"steps": 12, "batch_size": 12, "learning_rate": 1e-2, "schedule": "constant"},
    )
    return resolve(load_recipe(recipe), REGISTRY)


@cache
def trained(experts: str, router: str) -> MultiTaskModel:
    """Return the model of a pair after some steps of all tasks, in eval mode."""
    plan = plan_of(named("experts", experts), named("router", router))
    data = load_tasks(plan)
    model = compose(plan, data)
    for _ in fit(model, data, plan.recipe.train, device="cpu"):
        pass
    return model


def named(kind: str, name: str) -> Component:
    return next(each for each in installed(kind) if each.name == name)


def sites(experts: Component, router: Component) -> list[Adapter]:
    return list(trained(experts.name, router.name).adapters)


def used(up: Tensor) -> Tensor:
    """Return the B of the experts that any token ever kept, flat; the others' are still 0."""
    flat = up.detach().movedim(1, 0).flatten(1)
    return flat[flat.any(1)]


@pytest.mark.parametrize(("experts", "router"), pairs(disguised=False))
def test_experts_that_a_router_tells_apart_diverge(experts: Component, router: Component) -> None:
    assert plan_of(experts, router).notices == ()

    for adapter in sites(experts, router):
        moved = used(adapter.experts.up_factors)
        # In so few steps a sparse router leaves out some experts of so many.
        assert len(moved) > COUNT / 2 if router.capabilities.get("sparse") else len(moved) == COUNT
        assert torch.pdist(moved).min() > 1e-2 * moved.norm(dim=1).mean()


disguised = pytest.mark.parametrize(("experts", "router"), pairs(disguised=True))


@disguised
def test_pairs_that_are_one_lora_are_allowed_with_a_warning(
    experts: Component, router: Component
) -> None:
    (notice,) = plan_of(experts, router).notices

    assert "one expert in disguise" in notice


@disguised
def test_experts_that_nothing_tells_apart_stay_equal_bit_for_bit_and_others_do_not(
    experts: Component, router: Component
) -> None:
    for adapter in sites(experts, router):
        up = adapter.experts.up_factors
        assert up.any()
        equal = all(torch.equal(up[:, 0], up[:, e]) for e in range(COUNT))
        assert equal == experts.capabilities["start_equal"]


def update(adapter: Adapter, hidden: Tensor, task: int) -> Tensor:
    """Return the update of ``hidden`` ``[t, d]``, tokens of one example of ``task``."""
    context, rows = TaskContext(("toy0", "toy1", "toy2")), hidden[None]
    assert adapter.router is not None
    with torch.no_grad(), context.serving(torch.tensor([task])):
        seen = SiteInput(rows, torch.zeros(1, len(hidden), adapter.site.o), None, context)
        update: Tensor = adapter.experts(seen, adapter.router(rows, context))
    return update[0]


def lora_of(matrix: Tensor, rank: int, site: Site) -> Lora:
    """Return the LoRA of ``rank`` that is nearest to a matrix ``[o, d]``."""
    left, size, right = torch.linalg.svd(matrix)
    lora = Lora(LoraOptions(rank=rank, alpha=rank), site, ())
    lora.load_state_dict({"down": right[:rank], "up": left[:, :rank] * size[:rank]})
    return lora


@disguised
@pytest.mark.parametrize("task", range(3))
def test_a_pair_that_warns_is_one_lora(experts: Component, router: Component, task: int) -> None:
    for adapter in sites(experts, router):
        _, count, rank = adapter.experts.up_factors.shape
        together = rank if experts.capabilities["start_equal"] else count * rank
        assert together < min(adapter.site.d, adapter.site.o)
        matrix = update(adapter, torch.eye(adapter.site.d), task).T
        hidden = torch.randn(50, adapter.site.d, generator=torch.Generator().manual_seed(0))

        one = lora_of(matrix, together, adapter.site)
        seen = SiteInput(hidden[None], torch.zeros(1), None, TaskContext())

        expected = update(adapter, hidden, task)
        assert expected.abs().max() > 1e-2
        torch.testing.assert_close(one(seen, None)[0], expected, rtol=0, atol=1e-5)
