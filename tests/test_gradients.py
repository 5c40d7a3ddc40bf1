"""Sums over processes: of gradients, and of what routers did."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import toy_recipe, toy_registry

from mtlora_core.compose import compose
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import resolve
from mtlora_core.train.gradients import sum_gradients
from mtlora_core.train.statistics import RoutingStatistics


class OneOfTwo:
    """Stands for accelerate in one of two processes."""

    num_processes = 2

    def __init__(self, other: Tensor | None = None) -> None:
        self.own = torch.empty(0)
        self.other = other

    def reduce(self, values: Tensor, how: str) -> Tensor:
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
    alone.num_processes = 1
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

    statistics = RoutingStatistics(adapters).finish(both)

    assert count == 4
    assert statistics.keys() == adapters.sites.keys()
    for each in statistics.values():
        assert each.load.tolist() == [0.75, 0.25, 0.0, 0.0]
        assert each.kept.tolist() == [1.0, 0.5, 0.0, 0.0]
        assert each.entropy == pytest.approx(0.3)
    assert RoutingStatistics(adapters, observed=False).finish(both) == {}
