from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import mtlora_experts
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import SiteInput
from mtlora_core.testing import check_experts, described, tiny_site
from mtlora_experts.lora import Lora
from mtlora_experts.options import LoraOptions


def make_lora(**options: Any) -> Lora:
    torch.manual_seed(0)
    lora = Lora(LoraOptions(**options), tiny_site(), ())
    torch.nn.init.normal_(lora.up)
    return lora


def update(lora: Lora, hidden: Tensor | None = None) -> Tensor:
    torch.manual_seed(1)
    hidden = torch.randn(2, 3, 12) if hidden is None else hidden
    answer = lora(SiteInput(hidden, torch.zeros(2, 3, 16), None, TaskContext()), None)
    assert isinstance(answer, Tensor)
    return answer


@pytest.mark.parametrize("options", [{}, {"rank": 3, "alpha": 5, "dropout": 0.5}])
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "lora"), options)


def test_is_alpha_over_rank_times_b_times_a() -> None:
    lora, hidden = make_lora(rank=4, alpha=6), torch.randn(2, 3, 12)

    torch.testing.assert_close(update(lora, hidden), 6 / 4 * hidden @ lora.down.T @ lora.up.T)


def test_alpha_scales_the_update() -> None:
    torch.testing.assert_close(update(make_lora(alpha=8)), update(make_lora(alpha=16)) / 2)


def test_rank_is_the_width_of_the_low_rank_side() -> None:
    lora = make_lora(rank=5)

    assert [*lora.down.shape, *lora.up.shape] == [5, 12, 16, 5]


def test_dropout_drops_in_training_only() -> None:
    lora = make_lora(dropout=0.5)
    whole = update(make_lora(dropout=0.0))

    assert not torch.allclose(update(lora.train()), whole)
    torch.testing.assert_close(update(lora.eval()), whole)


def test_dropout_keeps_the_mean() -> None:
    lora, hidden = make_lora(dropout=0.5), torch.randn(2, 3, 12)
    lora.requires_grad_(False)
    many = SiteInput(hidden.repeat(4000, 1, 1), torch.zeros(0), None, TaskContext())

    mean = lora(many, None).unflatten(0, (4000, 2)).mean(0)

    torch.testing.assert_close(mean, update(lora.eval(), hidden), rtol=0, atol=0.3)


def test_a_starts_uniform_within_one_over_the_root_of_the_width() -> None:
    torch.manual_seed(0)
    down = Lora(LoraOptions(rank=12), tiny_site(d=100, o=12), ()).down

    assert down.abs().max() <= 0.1
    torch.testing.assert_close(down.std(), torch.tensor(0.1 / 3**0.5), rtol=0.1, atol=0)


def test_its_one_expert_is_its_up_projection() -> None:
    lora = make_lora(rank=3)

    assert lora.up_factors.shape == (16, 1, 3)
    assert torch.equal(lora.up_factors[:, 0], lora.up)
