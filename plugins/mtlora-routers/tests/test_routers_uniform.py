from __future__ import annotations

import torch

import mtlora_routers
from mtlora_core.context import TaskContext
from mtlora_core.testing import check_router, described, tiny_site
from mtlora_routers.options import UniformOptions
from mtlora_routers.uniform import Uniform


def test_keeps_the_contract_of_a_router() -> None:
    check_router(described(mtlora_routers, "router", "uniform"))


def test_weighs_every_expert_alike_and_keeps_nothing() -> None:
    router = Uniform(UniformOptions(), tiny_site(), 4, ())

    assert router(torch.randn(2, 3, 12), TaskContext()).weights.tolist() == [0.25] * 4
    assert not router.state_dict()


def test_weighs_where_the_hidden_states_are() -> None:
    router = Uniform(UniformOptions(), tiny_site(), 4, ())

    routing = router(torch.zeros(2, 3, 12, device="meta"), TaskContext())

    assert routing.weights.device.type == "meta"
