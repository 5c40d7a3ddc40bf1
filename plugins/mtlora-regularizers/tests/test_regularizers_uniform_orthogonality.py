from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

import mtlora_regularizers
from mtlora_core.testing import check_penalty, described
from mtlora_core.testing.penalty import GivenExperts
from mtlora_regularizers.options import UniformOrthogonalityOptions
from mtlora_regularizers.uniform_orthogonality import UniformOrthogonality

PENALTY = UniformOrthogonality(UniformOrthogonalityOptions())


def test_keeps_the_contract_of_a_penalty() -> None:
    check_penalty(described(mtlora_regularizers, "regularizer", "uniform-orthogonality"))


def test_is_the_sum_over_pairs_of_experts() -> None:
    up = torch.randn(8, 4, 3, dtype=torch.float64)

    value = PENALTY(GivenExperts(up), None)

    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    expected = torch.stack([(up[:, i].T @ up[:, j]).norm() ** 2 for i, j in pairs]).sum()
    torch.testing.assert_close(value, expected)


def test_is_zero_for_experts_at_right_angles() -> None:
    up = torch.eye(6).view(6, 3, 2)

    assert PENALTY(GivenExperts(up), None).item() == 0.0


def test_a_step_against_its_gradient_turns_experts_apart() -> None:
    torch.manual_seed(0)
    experts = GivenExperts(torch.randn(8, 3, 2))
    before = PENALTY(experts, None)
    (gradient,) = torch.autograd.grad(before, experts.up)

    turned = GivenExperts(experts.up.detach() - 1e-4 * gradient)

    assert PENALTY(turned, None) < before


def test_products_stay_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    experts = GivenExperts(torch.randn(64, 4, 3))
    expected = PENALTY(experts, None)

    with torch.autocast("cpu", torch.bfloat16):
        value = PENALTY(experts, None)

    assert torch.equal(value, expected)


def test_weight_defaults_to_the_best_of_the_paper_and_is_never_negative() -> None:
    assert UniformOrthogonalityOptions().weight == 0.25
    with pytest.raises(ValidationError):
        UniformOrthogonalityOptions(weight=-1)
