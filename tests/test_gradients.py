"""Sums over processes: of gradients, and of what routers did."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import toy_recipe, toy_registry

from mtlora_core.compose import compose
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing, StepRouting
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import resolve
from mtlora_core.train.gradients import sum_gradients
from mtlora_core.train.statistics import RoutingStatistics, learns_from_load, teach


class OneOfTwo:
    """Stands for the engine of one of two processes."""

    processes = 2

    def __init__(self, other: Tensor | None = None) -> None:
        self.own = torch.empty(0)
        self.other = other

    def sum(self, values: Tensor) -> Tensor:
        """Add what the other process gave."""
        self.own = values
        return values if self.other is None else values + self.other


def parameters(*gradients: list[float] | None) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(2)) for _ in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = None if gradient is None else torch.tensor(gradient).float()
    return made


def summed(one: list[nn.Parameter], other: list[nn.Parameter]) -> list[list[float] | None]:
    """Return the gradients of ``one`` after they were summed with those of ``other``."""
    elsewhere: Any = OneOfTwo()
    sum_gradients(other, elsewhere)
    here: Any = OneOfTwo(elsewhere.own)
    sum_gradients(one, here)
    return [None if p.grad is None else p.grad.tolist() for p in one]


def test_gradients_of_two_processes_are_added() -> None:
    assert summed(parameters([1, 2], [5, 6]), parameters([3, 4], [7, 8])) == [[4, 6], [12, 14]]


def test_what_one_process_did_not_use_gets_the_other_s_gradient() -> None:
    assert summed(parameters(None, [5, 6]), parameters([3, 4], None)) == [[3, 4], [5, 6]]


def test_what_no_process_used_has_no_gradient_not_even_one_of_zero() -> None:
    assert summed(parameters(None, [0, 0]), parameters(None, None)) == [None, [0, 0]]


def test_a_single_process_keeps_its_gradients() -> None:
    alone: Any = OneOfTwo()
    alone.processes = 1
    (used, unused) = parameters([1, 2], None)

    sum_gradients([used, unused], alone)

    assert used.grad is not None
    assert used.grad.tolist() == [1, 2]
    assert unused.grad is None


def test_a_process_that_a_small_step_left_idle_still_sums_the_routing() -> None:
    plan = resolve(load_recipe(toy_recipe()), toy_registry())
    adapters = compose(plan).adapters
    count = next(iter(adapters)).experts.count
    seen = torch.tensor([0.75, 0.25, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.3, 1.0]) * 10
    both: Any = OneOfTwo(torch.cat([seen] * len(adapters.sites)))

    found = RoutingStatistics(adapters).finish(both)

    assert count == 4
    assert found.keys() == adapters.sites.keys()
    for each in found.values():
        assert each.load.tolist() == [0.75, 0.25, 0.0, 0.0]
        assert each.kept.tolist() == [1.0, 0.5, 0.0, 0.0]
        assert each.entropy == pytest.approx(0.3)
    assert RoutingStatistics(adapters, observed=False).finish(both) == {}


class Far:
    """Stands for numbers on a device, which can only be brought to the CPU."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.trips = 0

    def cpu(self) -> Tensor:
        """Bring them."""
        self.trips += 1
        return self.values


def test_routing_leaves_the_device_once_a_step() -> None:
    adapters = compose(resolve(load_recipe(toy_recipe()), toy_registry())).adapters
    far = Far(torch.tensor([0.5, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0] * 2))

    elsewhere: Any = SimpleNamespace(sum=lambda row: far)
    found = RoutingStatistics(adapters).finish(elsewhere)

    assert len(found) == 2
    assert [each.load.tolist() for each in found.values()] == [[0.5, 0.5, 0.0, 0.0]] * 2
    assert far.trips == 1


def routing_on(device: str) -> Routing:
    """Return a routing of two groups over three tokens of two examples, the last one padding."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        weights = torch.rand(2, 3, 2, 4).softmax(-1)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    return Routing(weights.to(device), "group", mask.to(device))


def test_looking_at_a_forward_s_routing_asks_the_device_for_nothing() -> None:
    # On the meta device whatever depends on values, or copies them to the CPU, is an error.
    plan = resolve(load_recipe(toy_recipe()), toy_registry())
    adapters = compose(plan, meta=True).adapters
    observed = RoutingStatistics(adapters)
    adapters.context.records = {site: routing_on("meta") for site in adapters.sites}

    observed.add(5)

    assert all(row.is_meta for row in observed._sums.values())


def test_the_entropy_of_a_routing_is_its_mean_over_real_tokens() -> None:
    routing = routing_on("cpu")
    assert routing.mask is not None
    places = routing.mask.nonzero().tolist()
    entropies = [
        -sum(w * math.log(w) for w in routing.weights[b, t, g].tolist()) / math.log(4)
        for b, t in places
        for g in range(2)
    ]

    assert float(routing.entropy()) == pytest.approx(sum(entropies) / len(entropies))
    whole = replace(routing, mask=torch.ones(2, 3).bool())
    assert float(whole.entropy()) == pytest.approx(float(replace(routing, mask=None).entropy()))


class Learner(Router):
    """Keeps what it is taught."""

    taught: StepRouting | None = None

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Weigh nothing."""
        raise NotImplementedError

    def after_step(self, routing: StepRouting) -> None:
        """Keep it."""
        self.taught = routing


def test_each_router_that_learns_is_taught_its_own_site_s_routing_on_its_device() -> None:
    plan = resolve(load_recipe(toy_recipe()), toy_registry())
    adapters = compose(plan, meta=True).adapters
    first, second = adapters
    first.router = Learner()
    assert not learns_from_load(compose(plan, meta=True).adapters)
    assert learns_from_load(adapters)
    of = {
        first.site.name: StepRouting(torch.rand(4), torch.ones(4), 0.25),
        second.site.name: StepRouting(torch.rand(3), torch.ones(3), 0.5),
    }

    teach(adapters, of)
    assert first.router.taught is not None
    assert first.router.taught.load.is_meta
    assert first.router.taught.entropy == 0.25

    second.router = Learner()
    teach(adapters.to_empty(device="cpu"), of)
    for adapter in (first, second):
        assert isinstance(adapter.router, Learner)
        assert adapter.router.taught is not None
        torch.testing.assert_close(vars(adapter.router.taught), vars(of[adapter.site.name]))
