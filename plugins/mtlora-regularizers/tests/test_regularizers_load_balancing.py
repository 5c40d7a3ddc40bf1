from __future__ import annotations

import pytest
import torch
from torch import Tensor

import mtlora_regularizers
from mtlora_core.interfaces import Routing
from mtlora_core.testing import check_penalty, described
from mtlora_core.testing.penalty import GivenExperts
from mtlora_regularizers.load_balancing import LoadBalancing
from mtlora_regularizers.options import LoadBalancingOptions

EXPERTS = GivenExperts(torch.ones(4, 3, 2))


def value(routing: Routing | None) -> Tensor:
    return LoadBalancing(LoadBalancingOptions())(EXPERTS, routing)


def keep(dense: Tensor, k: int) -> Tensor:
    """Return the softmax weights of the k highest, 0 for the others."""
    least = dense.topk(k, -1).values[..., -1:]
    kept = dense.detach() * (dense >= least)
    return kept / kept.sum(-1, keepdim=True)


def make_dense(count: int = 3) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 4, 1, count).softmax(-1)


def test_keeps_the_contract_of_a_penalty() -> None:
    check_penalty(described(mtlora_regularizers, "regularizer", "load-balancing"))


@pytest.mark.parametrize("k", [1, 2])
def test_is_the_sum_of_each_experts_share_of_choices_times_its_mean_probability(k: int) -> None:
    dense = make_dense()
    weights = keep(dense, k)

    expected = 0.0
    for e in range(3):
        choices = sum((weights[b, t, 0, e] > 0).item() for b in range(2) for t in range(4))
        mean = sum(dense[b, t, 0, e].item() for b in range(2) for t in range(4)) / 8
        expected += 3 * choices / (8 * k) * mean
    assert value(Routing(weights, "token", dense=dense)).item() == pytest.approx(expected)


def test_is_one_where_all_experts_are_kept_alike() -> None:
    dense = torch.eye(3)[None, :, None]

    torch.testing.assert_close(value(Routing(dense, "token", dense=dense)), torch.tensor(1.0))


def test_is_the_number_of_experts_where_all_tokens_keep_one_for_sure() -> None:
    dense = torch.tensor([1.0, 0.0, 0.0]).expand(2, 4, 1, 3)

    torch.testing.assert_close(value(Routing(dense, "token", dense=dense)), torch.tensor(3.0))


def test_its_gradient_takes_probability_from_the_experts_kept_most() -> None:
    dense = make_dense().requires_grad_()
    weights = keep(dense, 1)

    value(Routing(weights, "token", dense=dense)).backward()

    assert dense.grad is not None
    often, rarely = (weights > 0).sum((0, 1, 2)).argmax(), (weights > 0).sum((0, 1, 2)).argmin()
    assert (dense.grad[..., often] > dense.grad[..., rarely]).all()


def test_padding_neither_counts_nor_gets_a_gradient() -> None:
    mask = torch.tensor([[True, True, True, False]] * 2)
    dense = make_dense().requires_grad_()
    weights = keep(dense, 2)

    masked = value(Routing(weights, "token", mask, dense))
    masked.backward()

    alone = Routing(weights[:, :3], "token", dense=dense[:, :3])
    torch.testing.assert_close(masked, value(alone))
    assert dense.grad is not None
    assert not dense.grad[:, 3].any()
    assert dense.grad[:, :3].all()


def test_is_zero_without_a_router_and_where_nothing_was_chosen() -> None:
    assert value(None).item() == 0.0
    assert value(Routing(make_dense(), "token")).item() == 0.0


def test_weight_defaults_to_that_of_the_switch_transformer() -> None:
    assert LoadBalancingOptions().weight == 0.01
