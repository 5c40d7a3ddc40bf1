from __future__ import annotations

import pytest
import torch
from torch import Tensor

import mtlora_regularizers
from mtlora_core.interfaces import Routing
from mtlora_core.testing import check_penalty, described
from mtlora_core.testing.penalty import GivenExperts
from mtlora_regularizers.balance import Balance
from mtlora_regularizers.options import BalanceOptions

EXPERTS = GivenExperts(torch.ones(4, 3, 2))


def value(routing: Routing | None) -> Tensor:
    return Balance(BalanceOptions())(EXPERTS, routing)


def make_weights(groups: int = 1) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 4, groups, 3).softmax(-1)


def test_keeps_the_contract_of_a_penalty() -> None:
    check_penalty(described(mtlora_regularizers, "regularizer", "balance"))


@pytest.mark.parametrize("groups", [1, 2])
def test_is_the_squared_coefficient_of_variation_of_the_mean_weights(groups: int) -> None:
    weights = make_weights(groups)

    mean = [weights[..., e].mean() for e in range(3)]
    centre = sum(mean, torch.tensor(0.0)) / 3
    variance = sum(((m - centre) ** 2 for m in mean), torch.tensor(0.0)) / 2
    expected = variance / (centre**2 + 1e-10)
    torch.testing.assert_close(value(Routing(weights, "group")), expected)


def test_is_zero_where_all_experts_are_used_alike_if_by_different_tokens() -> None:
    weights = torch.eye(3)[None, :, None, :]

    torch.testing.assert_close(value(Routing(weights, "token")), torch.tensor(0.0))


def test_is_the_number_of_experts_where_one_does_all() -> None:
    weights = torch.tensor([1.0, 0.0, 0.0]).expand(2, 4, 1, 3)

    torch.testing.assert_close(value(Routing(weights, "token")), torch.tensor(3.0))


def test_padding_neither_counts_nor_gets_a_gradient() -> None:
    mask = torch.tensor([[True, True, True, False]] * 2)
    weights = make_weights().requires_grad_()

    masked = value(Routing(weights, "token", mask))
    masked.backward()

    torch.testing.assert_close(masked, value(Routing(weights[:, :3], "token")))
    assert weights.grad is not None
    assert not weights.grad[:, 3].any()
    assert weights.grad[:, :3].any()


def test_is_zero_without_a_router_and_for_one_expert() -> None:
    assert value(None).item() == 0.0
    assert value(Routing(torch.ones(2, 4, 1, 1), "token")).item() == 0.0


def test_weight_defaults_to_that_of_the_released_scripts() -> None:
    assert BalanceOptions().weight == 0.01
