from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mtlora_regularizers
from mtlora_core.testing import check_transform, described, task_gradients
from mtlora_regularizers.options import OrthogonalGradientOptions
from mtlora_regularizers.orthogonal_gradient import OrthogonalGradient, coefficients, visits


def draw_rows(tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed)).double()


def projected(rows: Tensor, order: Tensor) -> Tensor:
    """Return PCGrad's Algorithm 1, a vector at a time, summed."""
    done = []
    for i, gradient in enumerate(rows):
        for j in order[i].tolist():
            product = gradient.dot(rows[j])
            if j != i and product < 0:
                gradient = gradient - product / rows[j].dot(rows[j]) * rows[j]
        done.append(gradient)
    return torch.stack(done).sum(0)


def transformed(
    *groups: Sequence[Tensor], order: str = "random", seed: int = 3
) -> Sequence[Tensor]:
    options = OrthogonalGradientOptions.model_validate({"order": order})
    return OrthogonalGradient(options, (), len(groups))(task_gradients(groups, seed=seed))


@pytest.mark.parametrize("order", ["random", "fixed"])
def test_keeps_the_contract_of_a_transform(order: str) -> None:
    component = described(mtlora_regularizers, "regularizer", "orthogonal-gradient")
    check_transform(component, {"order": order})


@settings(max_examples=40, deadline=None)
@given(tasks=st.integers(1, 7), size=st.integers(1, 9), seed=st.integers(0, 99))
def test_is_the_projection_of_every_vector_by_every_other(tasks: int, size: int, seed: int) -> None:
    matrices = [draw_rows(tasks, size, seed), draw_rows(tasks, size + 2, seed + 100)]
    order = visits(tasks, seed)

    actual = transformed(*([rows] for rows in matrices), seed=seed)

    for vector, rows in zip(actual, matrices, strict=True):
        torch.testing.assert_close(vector, projected(rows, order))


def test_a_group_of_parameters_is_one_vector() -> None:
    first, second = draw_rows(4, 6), draw_rows(4, 5, seed=1)

    (together,) = transformed([first, second])
    (whole,) = transformed([torch.cat([first, second], 1)])
    apart = torch.cat([*transformed([first], [second])])

    torch.testing.assert_close(together, whole)
    assert not torch.allclose(together, apart)


def test_of_two_tasks_each_loses_what_goes_against_the_other() -> None:
    a, b = draw_rows(2, 4)
    b = b - (1 + b.dot(a)) / a.dot(a) * a  # now their product is -1

    (actual,) = transformed([torch.stack([a, b])])

    expected = (a + b / b.dot(b)) + (b + a / a.dot(a))
    torch.testing.assert_close(actual, expected)


def test_is_the_sum_where_nothing_conflicts() -> None:
    rows = draw_rows(5, 30).abs()

    (actual,) = transformed([rows])

    assert torch.equal(actual, torch.ones(5).double() @ rows)


def test_a_gradient_that_is_zero_or_underflows_is_no_direction() -> None:
    rows = draw_rows(4, 6).float()
    rows[1] = 0
    rows[2] *= 1e-25

    (actual,) = transformed([rows])

    alone = transformed([rows[[0, 3]]])[0]
    torch.testing.assert_close(actual, alone)


def test_every_visit_is_a_permutation_and_they_differ() -> None:
    order = visits(6, seed=1)

    assert torch.equal(order.sort(1).values, torch.arange(6).repeat(6, 1))
    assert len({tuple(row) for row in order.tolist()}) > 1
    assert torch.equal(order, visits(6, seed=1))
    assert not torch.equal(order, visits(6, seed=2))


def test_the_order_is_drawn_from_the_seed_or_is_that_of_the_tasks() -> None:
    rows = draw_rows(6, 4)

    assert not torch.allclose(transformed([rows], seed=1)[0], transformed([rows], seed=2)[0])
    fixed = transformed([rows], order="fixed", seed=1)[0]
    assert torch.equal(fixed, transformed([rows], order="fixed", seed=2)[0])
    torch.testing.assert_close(fixed, projected(rows, torch.arange(6).repeat(6, 1)))


def test_no_loop_runs_over_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = torch.where

    def counting(*args: Any) -> Any:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(torch, "where", counting)
    for matrices in (1, 100):
        coefficients(torch.eye(5).repeat(matrices, 1, 1), visits(5, 0))

    assert len(calls) == 2 * 5


def test_the_defaults_are_ortho_lora_s() -> None:
    options = OrthogonalGradientOptions()

    assert (options.scope, options.order) == ("per-matrix", "random")
