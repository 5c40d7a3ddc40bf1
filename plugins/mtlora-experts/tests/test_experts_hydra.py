from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtlora_experts
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Routing, SiteInput
from mtlora_core.testing import check_experts, described, tiny_site
from mtlora_experts.hydra import Hydra
from mtlora_experts.options import HydraOptions


def make_hydra(**options: Any) -> Hydra:
    torch.manual_seed(0)
    hydra = Hydra(HydraOptions(**{"dropout": 0, **options}), tiny_site(), ("first", "second"))
    nn.init.normal_(hydra.up)
    return hydra


def update(hydra: Hydra, routing: Routing, hidden: Tensor | None = None) -> Tensor:
    torch.manual_seed(1)
    hidden = torch.randn(2, 3, 12) if hidden is None else hidden
    context = TaskContext(("first", "second"))
    with context.serving(torch.tensor([1, 0])):
        answer = hydra(SiteInput(hidden, torch.zeros(2, 3, 16), None, context), routing)
    assert isinstance(answer, Tensor)
    return answer


def even(count: int) -> Routing:
    return Routing(torch.full((count,), 1 / count), "model")


@pytest.mark.parametrize(
    "options", [{}, {"count": 3, "rank": 2, "alpha": 5, "dropout": 0.5}, {"count": 1}]
)
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "hydra"), options)


def test_is_the_sum_over_experts_and_groups_of_outputs() -> None:
    hydra, hidden = make_hydra(count=3, rank=2, alpha=5), torch.randn(2, 3, 12)
    weights = torch.randn(2, 3, 4, 3).softmax(-1)

    spread = weights.repeat_interleave(4, dim=2)  # [b, t, o, e]
    parts = [spread[..., e] * (hidden @ hydra.down.T @ hydra.up[:, e].T) * 5 / 2 for e in range(3)]
    expected = torch.stack(parts).sum(0)
    torch.testing.assert_close(update(hydra, Routing(weights, "group"), hidden), expected)


def test_weights_per_task_are_those_of_each_rows_task() -> None:
    hydra = make_hydra(count=2)
    per_task = torch.tensor([[0.9, 0.1], [0.2, 0.8]])

    by_task = update(hydra, Routing(per_task, "task"))

    by_row = update(hydra, Routing(per_task[[1, 0]], "sequence"))
    torch.testing.assert_close(by_task, by_row)


@pytest.mark.parametrize("count", [2, 5])
def test_count_is_the_number_of_up_projections(count: int) -> None:
    hydra = make_hydra(count=count, rank=3)

    assert hydra.count == count
    assert hydra.up_factors.shape == (16, count, 3)


def test_rank_is_the_width_of_the_low_rank_side() -> None:
    assert make_hydra(rank=5).down.shape == (5, 12)


def test_alpha_scales_the_update() -> None:
    routing = even(4)

    half = update(make_hydra(alpha=8), routing)

    torch.testing.assert_close(half, update(make_hydra(alpha=16), routing) / 2)


def test_dropout_drops_in_training_only() -> None:
    hydra, whole = make_hydra(dropout=0.5), update(make_hydra(), even(4))

    assert not torch.allclose(update(hydra.train(), even(4)), whole)
    torch.testing.assert_close(update(hydra.eval(), even(4)), whole)


def test_all_experts_share_one_dropout_mask() -> None:
    hydra = make_hydra(count=3, dropout=0.5)
    with torch.no_grad():
        hydra.up.copy_(hydra.up[:, :1].expand_as(hydra.up))  # experts that differ in nothing

    answers = [update(hydra, Routing(weights, "model")) for weights in torch.eye(3)]

    assert torch.equal(answers[0], answers[1])
    torch.testing.assert_close(update(hydra, even(3)), answers[0])


def test_equal_experts_under_even_weights_stay_equal_for_ever() -> None:
    torch.manual_seed(0)
    hydra = Hydra(HydraOptions(count=3, dropout=0), tiny_site(), ())

    train(hydra, even(3))

    up = hydra.up.detach()
    assert up.any()
    assert torch.equal(up, up[:, :1].expand_as(up))


def test_experts_under_weights_of_the_token_diverge() -> None:
    torch.manual_seed(0)
    hydra = Hydra(HydraOptions(count=3, dropout=0), tiny_site(), ())

    train(hydra, Routing(torch.randn(2, 3, 1, 3).softmax(-1), "token"))

    assert torch.pdist(hydra.up.detach().movedim(1, 0).flatten(1)).min() > 1e-3


def train(hydra: Hydra, routing: Routing) -> None:
    optimizer = torch.optim.AdamW(hydra.parameters(), lr=1e-2)
    target = torch.randn(2, 3, 16)
    for _ in range(20):
        optimizer.zero_grad()
        (update(hydra, routing) - target).square().mean().backward()
        optimizer.step()
