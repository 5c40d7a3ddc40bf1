from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtlora_experts
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Routing, SiteInput
from mtlora_core.testing import check_experts, described, tiny_shape, tiny_site
from mtlora_experts.lora import Lora
from mtlora_experts.moe import Moe
from mtlora_experts.options import LoraOptions, MoeOptions


def make_moe(**options: Any) -> Moe:
    torch.manual_seed(0)
    values = {"count": 4, "rank": 8, "dropout": 0, **options}
    moe = Moe(MoeOptions(**values), tiny_site(), ("first", "second"))
    nn.init.normal_(moe.up)
    return moe


def update(experts: Moe | Lora, routing: Routing | None, hidden: Tensor | None = None) -> Tensor:
    torch.manual_seed(1)
    hidden = torch.randn(2, 3, 12) if hidden is None else hidden
    context = TaskContext(("first", "second"))
    with context.serving(torch.tensor([1, 0])):
        answer = experts(SiteInput(hidden, torch.zeros(2, 3, 16), None, context), routing)
    assert isinstance(answer, Tensor)
    return answer


def even(count: int = 4) -> Routing:
    return Routing(torch.full((count,), 1 / count), "model")


@pytest.mark.parametrize(
    "options", [{"rank": 8}, {"count": 3, "rank": 6, "alpha": 5, "dropout": 0.5}, {"count": 1}]
)
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "moe"), options)


def test_is_the_sum_over_experts_of_their_own_factors() -> None:
    moe, hidden = make_moe(rank=8, alpha=5), torch.randn(2, 3, 12)
    per_task = torch.randn(2, 4).softmax(-1)

    rows = per_task[[1, 0]][:, None, :, None]  # [b, 1, e, 1]
    parts = [rows[:, :, e] * (hidden @ moe.down[e].T @ moe.up[:, e].T) * 5 / 8 for e in range(4)]
    torch.testing.assert_close(
        update(moe, Routing(per_task, "task"), hidden), torch.stack(parts).sum(0)
    )


@pytest.mark.parametrize("count", [2, 4])
def test_count_experts_split_the_rank(count: int) -> None:
    moe = make_moe(count=count, rank=8)

    assert moe.down.shape == (count, 8 // count, 12)
    assert moe.up_factors.shape == (16, count, 8 // count)


def test_rank_is_that_of_all_experts_together_and_as_many_parameters_as_loras() -> None:
    lora = Lora(LoraOptions(rank=8), tiny_site(), ())

    moe = make_moe(count=4, rank=8)

    assert moe.up.flatten(1).shape == lora.up.shape
    assert sum(p.numel() for p in moe.parameters()) == sum(p.numel() for p in lora.parameters())


def test_alpha_scales_the_update() -> None:
    half = update(make_moe(alpha=8), even())

    torch.testing.assert_close(half, update(make_moe(alpha=16), even()) / 2)


def test_dropout_drops_in_training_only() -> None:
    moe, whole = make_moe(dropout=0.5), update(make_moe(), even())

    assert not torch.allclose(update(moe.train(), even()), whole)
    torch.testing.assert_close(update(moe.eval(), even()), whole)


def test_a_starts_gaussian_with_a_deviation_of_a_hundredth() -> None:
    torch.manual_seed(0)
    down = Moe(MoeOptions(rank=16), tiny_site(d=400), ()).down

    torch.testing.assert_close(down.std(), torch.tensor(0.01), rtol=0.05, atol=0)


def test_under_even_weights_it_is_one_lora_of_the_whole_rank() -> None:
    moe, lora = make_moe(rank=8, alpha=16), Lora(LoraOptions(rank=8, alpha=4), tiny_site(), ())
    lora.load_state_dict({"down": moe.down.flatten(0, 1), "up": moe.up.flatten(1)})

    torch.testing.assert_close(update(moe, even()), update(lora, None))


def test_experts_diverge_even_under_even_weights_since_their_a_differ() -> None:
    torch.manual_seed(0)
    moe = Moe(MoeOptions(count=4, rank=8, dropout=0), tiny_site(), ())

    (update(moe, even()) - 1).square().sum().backward()

    assert moe.up.grad is not None
    assert torch.pdist(moe.up.grad.movedim(1, 0).flatten(1)).min() > 1e-4


def test_a_rank_that_the_experts_cannot_share_is_told_those_they_could() -> None:
    problems = list(MoeOptions(count=3, rank=8).problems(tiny_shape(), [tiny_site()]))

    assert problems == [("rank", "8 cannot be split over 3 experts; 6 or 9 could")]


def test_a_rank_below_the_number_of_experts_is_told_the_least_there_can_be() -> None:
    ((_, reason),) = MoeOptions(count=8, rank=4).problems(tiny_shape(), [tiny_site()])

    assert reason == "4 cannot be split over 8 experts; 8 could"


def test_a_rank_that_fits_is_fine_and_one_over_a_width_is_not() -> None:
    narrow, shape = [tiny_site(d=12, o=16)], tiny_shape()

    assert not list(MoeOptions(count=4, rank=12).problems(shape, narrow))
    ((option, reason),) = MoeOptions(count=4, rank=16).problems(shape, narrow)
    assert option == "rank"
    assert reason.startswith("16 is over the width of site layer0_q")
