"""The learning-rate schedule."""

from __future__ import annotations

import math

import pytest

from mtlora_core.recipe import TrainOptions
from mtlora_core.train.optimizer import factor


def factors(**options: object) -> list[float]:
    train = TrainOptions.model_validate(options)
    return [factor(train, step, 100) for step in range(100)]


def test_linear_falls_from_one_towards_zero_in_a_line() -> None:
    rates = factors(schedule="linear")

    assert rates[0] == 1.0
    assert rates[99] == pytest.approx(0.01)
    assert rates[50] == pytest.approx(0.5)


def test_cosine_falls_along_half_a_cosine() -> None:
    rates = factors(schedule="cosine")

    expected = [0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert rates == pytest.approx(expected)


def test_constant_stays() -> None:
    assert set(factors(schedule="constant")) == {1.0}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_warm_up_rises_over_its_share_and_meets_the_schedule_at_one(schedule: str) -> None:
    rates = factors(schedule=schedule, warmup=0.1)

    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0
