from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import mtlora_experts
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import SiteInput
from mtlora_core.testing import check_experts, described, tiny_site
from mtlora_experts.multilora import MultiLora
from mtlora_experts.options import MultiLoraOptions


def make_multilora(**options: Any) -> MultiLora:
    torch.manual_seed(0)
    multilora = MultiLora(MultiLoraOptions(**options), tiny_site(), ())
    torch.nn.init.normal_(multilora.output_scale)
    return multilora


def update(multilora: MultiLora, hidden: Tensor | None = None) -> Tensor:
    torch.manual_seed(1)
    hidden = torch.randn(2, 3, 12) if hidden is None else hidden
    answer = multilora(SiteInput(hidden, torch.zeros(2, 3, 16), None, TaskContext()), None)
    assert isinstance(answer, Tensor)
    return answer


@pytest.mark.parametrize("options", [{}, {"count": 2, "rank": 3, "alpha": 5, "dropout": 0.5}])
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "multilora"), options)


def test_is_the_sum_of_the_modules_scaled_output_by_output() -> None:
    multilora, hidden = make_multilora(count=3, rank=2, alpha=5), torch.randn(2, 3, 12)
    down, up, scale = multilora.down, multilora.up, multilora.output_scale

    parts = [scale[:, e] * (hidden @ down[e].T @ up[:, e].T) * 5 / 2 for e in range(3)]
    torch.testing.assert_close(update(multilora, hidden), torch.stack(parts).sum(0))


@pytest.mark.parametrize("count", [1, 5])
def test_count_is_the_number_of_modules(count: int) -> None:
    multilora = make_multilora(count=count, rank=3)

    assert multilora.down.shape == (count, 3, 12)
    assert multilora.up_factors.shape == (16, count, 3)


def test_rank_is_the_width_of_each_modules_low_rank_side() -> None:
    assert make_multilora(rank=5).up.shape == (16, 3, 5)


def test_alpha_scales_the_update() -> None:
    torch.testing.assert_close(
        update(make_multilora(alpha=8)), update(make_multilora(alpha=16)) / 2
    )


def test_dropout_drops_in_training_only() -> None:
    multilora, whole = make_multilora(dropout=0.5), update(make_multilora())

    assert not torch.allclose(update(multilora.train()), whole)
    torch.testing.assert_close(update(multilora.eval()), whole)


def test_only_the_scales_start_at_zero_and_the_modules_differ() -> None:
    torch.manual_seed(0)
    multilora = MultiLora(MultiLoraOptions(rank=9), tiny_site(d=100, o=64), ())

    assert not multilora.output_scale.any()
    assert 0.09 < multilora.down.abs().max() <= 0.1
    assert 0.33 < multilora.up.abs().max() <= 1 / 3
    assert not torch.equal(multilora.up[:, 0], multilora.up[:, 1])


def test_its_up_projections_have_their_scales() -> None:
    multilora = make_multilora()

    expected = torch.einsum("oer,oe->oer", multilora.up, multilora.output_scale)
    torch.testing.assert_close(multilora.up_factors, expected)
