from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import mtlora_experts
from mtlora_core.compatibility import Parts
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import SiteInput
from mtlora_core.sites import Site
from mtlora_core.testing import check_experts, described, tiny_site
from mtlora_experts.dora import Dora
from mtlora_experts.options import DoraOptions


def make_dora(**options: Any) -> Dora:
    torch.manual_seed(0)
    dora = Dora(DoraOptions(**options), tiny_site(), ())
    torch.nn.init.normal_(dora.up)
    torch.nn.init.normal_(dora.magnitude_change)
    return dora


def draw(*shape: int, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(*shape)


def update(dora: Dora, hidden: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    hidden = draw(2, 3, 12) if hidden is None else hidden
    weight = draw(16, 12, seed=2) if weight is None else weight
    torch.manual_seed(3)
    answer = dora(SiteInput(hidden, torch.zeros(2, 3, 16), weight, TaskContext()), None)
    assert isinstance(answer, Tensor)
    return answer


def recomposed(dora: Dora, weight: Tensor) -> Tensor:
    """Return the adapted weight ``m / ‖V‖ · V`` by forming V."""
    directions = weight + dora.scale * dora.up @ dora.down
    magnitudes = weight.norm(dim=1) + dora.magnitude_change
    ratio: Tensor = magnitudes / directions.norm(dim=1).detach()
    return ratio[:, None] * directions


@pytest.mark.parametrize("options", [{}, {"rank": 3, "alpha": 5, "dropout": 0.5}])
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "dora"), options)


def test_is_what_the_recomposed_weight_makes_of_the_input() -> None:
    dora, hidden, weight = make_dora(rank=4, alpha=6), draw(2, 3, 12), draw(16, 12, seed=2)

    expected = hidden @ (recomposed(dora, weight) - weight).T
    torch.testing.assert_close(update(dora, hidden, weight), expected)


def test_the_norm_of_the_direction_is_held_constant_in_backward() -> None:
    dora, hidden, weight = make_dora(), draw(2, 3, 12), draw(16, 12, seed=2)
    cotangent, parameters = draw(2, 3, 16, seed=4), [*dora.parameters()]

    actual = torch.autograd.grad(update(dora, hidden, weight), parameters, cotangent)

    expected = torch.autograd.grad(hidden @ recomposed(dora, weight).T, parameters, cotangent)
    torch.testing.assert_close(actual, expected)


def test_with_dropout_one_mask_is_before_the_frozen_and_the_low_rank_product() -> None:
    dora, weight = make_dora(dropout=0.5).train(), draw(16, 12, seed=2)

    torch.manual_seed(3)
    dropped = torch.nn.functional.dropout(draw_kept(), 0.5)
    expected = dropped @ (recomposed(dora, weight) - weight).T
    torch.testing.assert_close(update(dora, draw_kept(), weight), expected)


def draw_kept() -> Tensor:
    """Return hidden states without moving torch's random state."""
    with torch.random.fork_rng():
        return draw(2, 3, 12)


def test_dropout_drops_in_training_only() -> None:
    dora, whole = make_dora(dropout=0.5), update(make_dora())

    assert not torch.allclose(update(dora.train()), whole)
    torch.testing.assert_close(update(dora.eval()), whole)


def test_alpha_scales_the_change_of_direction() -> None:
    half, whole, weight = make_dora(alpha=8), make_dora(alpha=16), draw(16, 12, seed=2)

    assert not torch.allclose(update(half), update(whole))
    assert half.scale == whole.scale / 2
    torch.testing.assert_close(update(half), draw(2, 3, 12) @ (recomposed(half, weight) - weight).T)


def test_rank_is_the_width_of_the_low_rank_side() -> None:
    dora = make_dora(rank=5)

    assert [*dora.down.shape, *dora.up_factors.shape] == [5, 12, 16, 1, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
def test_fresh_factors_change_nothing_bit_for_bit(dtype: torch.dtype, training: bool) -> None:
    dora = Dora(DoraOptions(dropout=0.5), tiny_site(), ()).train(training)

    assert not update(dora, weight=draw(16, 12, seed=2).to(dtype)).any()


def test_a_row_of_zeros_stays_one_and_spoils_no_gradient() -> None:
    dora, weight = Dora(DoraOptions(), tiny_site(), ()), draw(16, 12, seed=2)
    weight[3] = 0

    update(dora, weight=weight).square().sum().backward()

    assert not update(dora, weight=weight).any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in dora.parameters())


def test_forms_nothing_as_large_as_the_frozen_weight() -> None:
    dora = Dora(DoraOptions(rank=2), tiny_site(d=64, o=64), ())
    weight, hidden = draw(64, 64), draw(2, 3, 64)
    largest: list[int] = []

    class Watch(TorchDispatchMode):
        """Notes the sizes of new tensors; views of the weight are none."""

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            answer = func(*args, **(kwargs or {}))
            if isinstance(answer, Tensor) and answer.data_ptr() != weight.data_ptr():
                largest.append(answer.numel())
            return answer

    with Watch():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        dora(SiteInput(hidden, torch.zeros(2, 3, 64), weight, TaskContext()), None)

    assert max(largest) < weight.numel()


def test_a_block_is_refused_since_it_has_no_weight() -> None:
    component = described(mtlora_experts, "experts", "dora")
    block = Site("layer0_ffn", "block", 0, "layers.0.ffn", "layers.0.ffn", 12, 12)

    problems = Parts({("experts",): component}, routed=False, causal=None).site_problems([block])

    ((keys, reason),) = problems
    assert keys == ("experts",)
    assert "'layer0_ffn' is a block" in reason
