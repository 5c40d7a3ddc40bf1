from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from mtlora_core.component import Per
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Experts, Inputs, Router, Routing, StepRouting

UNITS: tuple[Per, ...] = get_args(Per)
LEADING: dict[Per, tuple[int, ...]] = {
    "model": (),
    "task": (3,),
    "sequence": (2,),
    "token": (2, 4, 1),
    "group": (2, 4, 3),
}


def make_routing(per: Per = "group", mask: Tensor | None = None) -> Routing:
    torch.manual_seed(0)
    return Routing(torch.randn(*LEADING[per], 5).softmax(-1), per, mask)


@pytest.mark.parametrize("per", UNITS)
def test_load_is_the_mean_weight_of_each_expert(per: Per) -> None:
    routing = make_routing(per)

    expected = torch.stack([routing.weights[..., e].mean() for e in range(5)])
    torch.testing.assert_close(routing.load(), expected)


@pytest.mark.parametrize("per", UNITS)
def test_load_sums_to_one_where_the_weights_do(per: Per) -> None:
    torch.testing.assert_close(make_routing(per).load().sum(), torch.tensor(1.0))


@pytest.mark.parametrize("per", ["token", "group"])
def test_load_counts_real_tokens_once_and_padding_never(per: Per) -> None:
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    routing = make_routing(per, mask)

    real = [routing.weights[b, t].mean(0) for b, t in mask.nonzero().tolist()]
    torch.testing.assert_close(routing.load(), torch.stack(real).mean(0))


def test_load_gives_padding_no_gradient_and_real_tokens_one() -> None:
    mask = torch.tensor([[True, True, True, False]] * 2)
    routing = make_routing("group", mask)
    routing.weights.requires_grad_()

    routing.load().square().sum().backward()

    gradient = routing.weights.grad
    assert gradient is not None
    assert not gradient[:, 3].any()
    assert gradient[:, :3].all()


def test_load_of_nothing_but_padding_is_zero() -> None:
    routing = make_routing("token", torch.zeros(2, 4, dtype=torch.bool))

    assert routing.load().tolist() == [0.0] * 5


def test_load_is_in_float32_for_weights_in_half_precision() -> None:
    routing = make_routing("token")

    half = replace(routing, weights=routing.weights.bfloat16())

    assert half.load().dtype == torch.float32


@pytest.mark.parametrize("per", UNITS)
def test_a_dense_routing_keeps_every_expert_for_every_unit(per: Per) -> None:
    assert make_routing(per).kept().tolist() == [1.0] * 5


def test_kept_is_the_share_of_real_tokens_that_give_an_expert_any_weight() -> None:
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    weights = torch.zeros(2, 4, 1, 3, requires_grad=True)
    with torch.no_grad():
        weights[0, 0, 0, 0] = weights[1, 0, 0, 0] = weights[0, 1, 0, 1] = 0.3
        weights[~mask] = 1.0

    kept = Routing(weights, "token", mask).kept()

    assert kept.tolist() == [0.5, 0.25, 0.0]
    assert not kept.requires_grad


def test_routing_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        make_routing().per = "token"  # type: ignore[misc]


@pytest.mark.parametrize("contract", [Router, Experts])
def test_a_contract_alone_cannot_be_built(contract: type[Router] | type[Experts]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        contract()


def test_a_router_that_learns_nothing_from_a_step_need_not_say_so() -> None:
    class Even(Router):
        def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
            return Routing(torch.full((2,), 0.5), "model")

    router = Even()
    router.after_step(StepRouting(torch.tensor([0.9, 0.1]), torch.ones(2), 0.5))

    assert router(torch.zeros(1, 1, 1), TaskContext()).weights.tolist() == [0.5, 0.5]


def test_inputs_move_as_a_whole() -> None:
    inputs = Inputs({"ids": torch.zeros(1, 2)}, torch.ones(1, 2, dtype=torch.bool))

    moved = inputs.to(torch.device("meta"))

    assert [moved.tensors["ids"].device.type, moved.mask.device.type] == ["meta", "meta"]
