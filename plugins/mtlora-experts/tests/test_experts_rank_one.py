from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtlora_experts
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Routing, SiteInput
from mtlora_core.testing import check_experts, described, tiny_site
from mtlora_experts.lora import Lora
from mtlora_experts.options import LoraOptions, RankOneOptions
from mtlora_experts.rank_one import RankOne


def make_rank_one(**options: Any) -> RankOne:
    torch.manual_seed(0)
    values = {"count": 6, "dropout": 0, **options}
    rank_one = RankOne(RankOneOptions(**values), tiny_site(), ("first", "second"))
    nn.init.normal_(rank_one.up)
    return rank_one


def update(
    experts: RankOne | Lora, routing: Routing | None, hidden: Tensor | None = None
) -> Tensor:
    torch.manual_seed(1)
    hidden = torch.randn(2, 3, 12) if hidden is None else hidden
    answer = experts(SiteInput(hidden, torch.zeros(2, 3, 16), None, TaskContext()), routing)
    assert isinstance(answer, Tensor)
    return answer


def even(count: int = 6) -> Routing:
    return Routing(torch.full((count,), 1 / count), "model")


@pytest.mark.parametrize("options", [{"count": 6}, {"count": 1, "alpha": 5, "dropout": 0.5}])
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "rank-one"), options)


def test_is_the_papers_sum_over_the_kept_ranks_of_a_token() -> None:
    k, alpha = 2, 5.0
    rank_one, hidden = make_rank_one(count=6, alpha=alpha), torch.randn(2, 3, 12)
    scores = torch.rand(2, 3, 6)  # z + b

    expected = torch.zeros(2, 3, 16)
    weights = torch.zeros(2, 3, 1, 6)
    for b in range(2):
        for t in range(3):
            kept = scores[b, t].topk(k).indices.tolist()
            total = sum(scores[b, t, j].item() for j in kept)
            for j in kept:
                gate = k * scores[b, t, j] / total
                low = rank_one.down[j, 0] @ hidden[b, t]
                expected[b, t] += alpha / k * rank_one.up[:, j, 0].detach() * gate * low.detach()
                weights[b, t, 0, j] = scores[b, t, j] / total

    torch.testing.assert_close(update(rank_one, Routing(weights, "token"), hidden), expected)


def test_count_is_the_number_of_ranks_and_as_many_parameters_as_loras() -> None:
    lora = Lora(LoraOptions(rank=6), tiny_site(), ())

    rank_one = make_rank_one(count=6)

    assert rank_one.up_factors.shape == (16, 6, 1)
    assert sum(p.numel() for p in rank_one.parameters()) == sum(
        p.numel() for p in lora.parameters()
    )


def test_alpha_scales_the_update() -> None:
    half = update(make_rank_one(alpha=8), even())

    torch.testing.assert_close(half, update(make_rank_one(alpha=16), even()) / 2)


def test_dropout_drops_in_training_only() -> None:
    rank_one, whole = make_rank_one(dropout=0.5), update(make_rank_one(), even())

    assert not torch.allclose(update(rank_one.train(), even()), whole)
    torch.testing.assert_close(update(rank_one.eval(), even()), whole)


def test_under_even_weights_it_is_lora_of_the_stacked_factors() -> None:
    rank_one, lora = make_rank_one(alpha=9), Lora(LoraOptions(rank=6, alpha=9), tiny_site(), ())
    lora.load_state_dict({"down": rank_one.down.flatten(0, 1), "up": rank_one.up.flatten(1)})

    torch.testing.assert_close(update(rank_one, even()), update(lora, None))


def test_every_rank_starts_as_loras_does() -> None:
    torch.manual_seed(0)
    rank_one = RankOne(RankOneOptions(count=50), tiny_site(d=100), ())
    torch.manual_seed(0)
    lora = Lora(LoraOptions(rank=50), tiny_site(d=100), ())

    assert torch.equal(rank_one.down.flatten(0, 1), lora.down)
    assert not rank_one.up.any()
