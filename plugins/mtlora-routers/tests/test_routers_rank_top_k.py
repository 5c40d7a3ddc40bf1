from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import mtlora_routers
from mtlora_core.context import TaskContext
from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Routing, StepRouting
from mtlora_core.testing import check_router, described, tiny_site
from mtlora_routers.options import RankTopKOptions
from mtlora_routers.rank_top_k import RankTopK


def make_rank_top_k(experts: int = 6, **options: Any) -> RankTopK:
    torch.manual_seed(0)
    values = {"k": 2, **options}
    return RankTopK(RankTopKOptions(**values), tiny_site(), experts, ())


def route(router: RankTopK, hidden: Tensor) -> Routing:
    routing = router(hidden, TaskContext())
    assert isinstance(routing, Routing)
    return routing


def biased(router: RankTopK, size: float = 0.3) -> RankTopK:
    """Give the router's bias a value, as if it had been trained."""
    router.bias += size * torch.linspace(-1, 1, len(router.bias))
    return router


@pytest.mark.parametrize(
    "options", [{"k": 2}, {"k": 1}, {"k": 3, "partition": 2, "bias_in_weights": False}]
)
def test_keeps_the_contract_of_a_router(options: dict[str, Any]) -> None:
    check_router(described(mtlora_routers, "router", "rank-top-k"), options)


@pytest.mark.parametrize("partition", [1, 2, 3])
@pytest.mark.parametrize("bias_in_weights", [True, False])
def test_weighs_the_k_highest_biased_scores_by_their_share(
    partition: int, bias_in_weights: bool
) -> None:
    router = biased(make_rank_top_k(k=3, partition=partition, bias_in_weights=bias_in_weights))
    hidden = torch.randn(2, 3, 12)

    expected = torch.zeros(2, 3, 6)
    for b in range(2):
        for t in range(3):
            z = [(router.weight[j // partition] @ hidden[b, t]).sigmoid().item() for j in range(6)]
            score = [z[j] + router.bias[j].item() for j in range(6)]
            kept = sorted(range(6), key=lambda j: -score[j])[:3]
            counted = score if bias_in_weights else z
            for j in kept:
                expected[b, t, j] = counted[j] / sum(counted[i] for i in kept)
    torch.testing.assert_close(route(router, hidden).weights[:, :, 0], expected)


def test_partition_is_the_number_of_experts_that_share_a_row() -> None:
    assert [*make_rank_top_k(partition=3).weight.shape] == [2, 12]


def test_says_the_shares_of_all_scores_that_it_chose_from() -> None:
    router, hidden = biased(make_rank_top_k()), torch.randn(2, 3, 12)

    scores = (hidden @ router.weight.T).sigmoid()
    dense = route(router, hidden).dense
    assert dense is not None
    torch.testing.assert_close(dense[:, :, 0], scores / scores.sum(-1, keepdim=True))


def kept(*share: float) -> StepRouting:
    # The mean weights say something else, which must not matter.
    return StepRouting(torch.tensor(share).flip(0), torch.tensor(share), 0.5)


def test_after_a_step_the_bias_moves_by_the_rate_towards_experts_that_few_tokens_keep() -> None:
    router = make_rank_top_k(experts=4, rate=0.25)

    router.after_step(kept(0.9, 0.5, 0.5, 0.1))
    router.after_step(kept(0.9, 0.9, 0.1, 0.1))

    assert router.bias.tolist() == [-0.5, -0.25, 0.25, 0.5]


@pytest.mark.parametrize("bias_in_weights", [True, False])
def test_the_bias_brings_every_expert_into_use(bias_in_weights: bool) -> None:
    router = make_rank_top_k(experts=4, k=1, rate=0.01, bias_in_weights=bias_in_weights)
    hidden = torch.randn(8, 50, 12) + 2 * router.weight[0].detach()
    before = route(router, hidden).kept()

    for _ in range(100):
        router.after_step(StepRouting(torch.zeros(4), route(router, hidden).kept(), 0.5))

    after = route(router, hidden).kept()
    assert before.max() > 0.4
    assert after.max() < 0.3


def test_no_gradient_moves_the_bias_and_a_forward_leaves_it() -> None:
    router = make_rank_top_k()

    route(router.train(), torch.randn(2, 3, 12)).weights.square().sum().backward()

    assert not router.bias.requires_grad
    assert not router.bias.any()
    assert [name for name, _ in router.named_parameters()] == ["weight"]


def test_the_bias_is_saved_and_moves_with_the_model() -> None:
    router, other = biased(make_rank_top_k()), make_rank_top_k()

    other.load_state_dict(router.state_dict())

    assert torch.equal(other.bias, router.bias)
    assert router.bias.any()


@pytest.mark.parametrize("push", [0.5, 2])
def test_scores_that_biases_push_below_zero_still_give_weights_that_sum_to_one(
    push: float,
) -> None:
    router = make_rank_top_k(k=6)
    router.bias -= push

    weights = route(router, torch.randn(2, 3, 12)).weights

    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 1))


def test_options_that_do_not_suit_the_number_of_experts_are_told_and_refused() -> None:
    options = RankTopKOptions(k=7, partition=4)

    assert list(options.count_problems(6)) == [
        ("k", "keeps 7 experts of 6; at most 6"),
        ("partition", "4 does not divide 6 experts; 3 or 6 would"),
    ]
    assert list(RankTopKOptions(k=6, partition=3).count_problems(6)) == []
    with pytest.raises(CompositionError, match=r"router\.partition: 4 does not divide 6"):
        RankTopK(options, tiny_site(), 6, ())
