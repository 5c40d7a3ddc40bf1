from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import mtlora_routers
from mtlora_core.context import TaskContext
from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Routing
from mtlora_core.testing import check_router, described, tiny_site
from mtlora_routers.options import TopKOptions
from mtlora_routers.top_k import TopK


def make_top_k(experts: int = 5, **options: Any) -> TopK:
    torch.manual_seed(0)
    return TopK(TopKOptions(**options), tiny_site(), experts, ())


def route(router: TopK, hidden: Tensor) -> Routing:
    routing = router(hidden, TaskContext())
    assert isinstance(routing, Routing)
    return routing


@pytest.mark.parametrize("options", [{}, {"k": 3}, {"k": 4}])
def test_keeps_the_contract_of_a_router(options: dict[str, Any]) -> None:
    check_router(described(mtlora_routers, "router", "top-k"), options)


@pytest.mark.parametrize("k", [2, 3])
def test_weighs_the_k_experts_of_highest_logits_by_their_softmax(k: int) -> None:
    router, hidden = make_top_k(k=k), torch.randn(2, 3, 12)

    expected = torch.zeros(2, 3, 5)
    for b in range(2):
        for t in range(3):
            logits = [(row @ hidden[b, t]).item() for row in router.weight]
            kept = sorted(range(5), key=lambda e: -logits[e])[:k]
            total = sum(torch.tensor(logits[e]).exp() for e in kept)
            for e in kept:
                expected[b, t, e] = torch.tensor(logits[e]).exp() / total
    torch.testing.assert_close(route(router, hidden).weights[:, :, 0], expected)


def test_says_the_softmax_over_all_that_it_chose_from() -> None:
    router, hidden = make_top_k(), torch.randn(2, 3, 12)

    expected = (hidden @ router.weight.T).softmax(-1)
    dense = route(router, hidden).dense
    assert dense is not None
    torch.testing.assert_close(dense[:, :, 0], expected)


def test_keeping_all_is_the_softmax_over_all() -> None:
    routing = route(make_top_k(experts=4, k=4), torch.randn(2, 3, 12))

    torch.testing.assert_close(routing.weights, routing.dense)


def test_keeps_exactly_k_of_equals() -> None:
    router = make_top_k(k=2)

    weights = route(router, torch.zeros(1, 1, 12)).weights

    assert sorted(weights.flatten().tolist()) == [0, 0, 0, 0.5, 0.5]


def test_experts_that_are_not_kept_get_no_gradient_from_the_weights() -> None:
    router = make_top_k(k=2)
    weights = route(router, torch.randn(1, 1, 12)).weights

    (weights.flatten() * torch.arange(5.0)).sum().backward()

    assert router.weight.grad is not None
    assert torch.equal(router.weight.grad.any(1), weights.flatten() > 0)


def test_refuses_to_keep_one_which_would_teach_it_nothing() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        TopKOptions(k=1)


def test_keeping_more_experts_than_there_are_is_told_before_and_refused_when_built() -> None:
    assert list(TopKOptions(k=5).count_problems(5)) == []
    assert list(TopKOptions(k=6).count_problems(5)) == [("k", "keeps 6 experts of 5; at most 5")]
    with pytest.raises(CompositionError, match=r"router\.k: keeps 6 experts of 5"):
        make_top_k(k=6)
