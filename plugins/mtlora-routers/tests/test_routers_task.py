from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

import mtlora_routers
from mtlora_core.context import TaskContext
from mtlora_core.testing import check_router, described, tiny_site
from mtlora_routers.options import TaskOptions
from mtlora_routers.task import Task

TASKS = ("first", "second", "third")


def make_task(experts: int = 4, tasks: int = 3, **options: Any) -> Task:
    torch.manual_seed(0)
    return Task(TaskOptions(**options), tiny_site(), experts, [*map(str, range(tasks))])


@pytest.mark.parametrize("options", [{}, {"temperature": 2}])
def test_keeps_the_contract_of_a_router(options: dict[str, Any]) -> None:
    check_router(described(mtlora_routers, "router", "task"), options)


def test_weighs_each_task_by_a_softmax_of_its_row() -> None:
    router = make_task(temperature=0.5)

    routing = router(torch.randn(2, 3, 12), TaskContext(TASKS))

    powers = (router.logits / 0.5).exp()
    torch.testing.assert_close(routing.weights, powers / powers.sum(-1, keepdim=True))


def test_a_lower_temperature_gives_a_clearer_favourite() -> None:
    hidden, context = torch.zeros(1, 1, 12), TaskContext(TASKS)

    sharp, soft = (
        make_task(temperature=temperature)(hidden, context).weights for temperature in (0.1, 1.0)
    )

    assert (sharp.max(-1).values > soft.max(-1).values).all()


def test_a_low_temperature_does_not_overflow() -> None:
    weights = make_task(temperature=1e-4)(torch.zeros(1, 1, 12), TaskContext(TASKS)).weights

    assert weights.isfinite().all()


def test_starts_uniform_within_one_over_the_root_of_the_number_of_experts() -> None:
    logits = make_task(experts=100, tasks=50).logits

    assert logits.abs().max() <= 0.1
    torch.testing.assert_close(logits.std(), torch.tensor(0.1 / 3**0.5), rtol=0.05, atol=0)


def test_three_experts_start_nearly_assigned_as_in_the_released_scripts() -> None:
    favourite = make_task(3, 20_000)(torch.zeros(1, 1, 12), TaskContext()).weights.max(-1).values

    torch.testing.assert_close(favourite.mean(), torch.tensor(0.84), rtol=0, atol=0.01)


@pytest.mark.parametrize("temperature", [0, -1])
def test_refuses_a_temperature_that_is_not_positive(temperature: float) -> None:
    with pytest.raises(ValidationError):
        TaskOptions(temperature=temperature)
