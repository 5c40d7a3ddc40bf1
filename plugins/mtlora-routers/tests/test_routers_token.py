from __future__ import annotations

import torch

import mtlora_routers
from mtlora_core.context import TaskContext
from mtlora_core.testing import check_router, described, tiny_site
from mtlora_routers.options import TokenOptions
from mtlora_routers.token import Token


def make_token(d: int = 12) -> Token:
    torch.manual_seed(0)
    return Token(TokenOptions(), tiny_site(d=d), 4, ())


def test_keeps_the_contract_of_a_router() -> None:
    check_router(described(mtlora_routers, "router", "token"))


def test_weighs_each_token_by_a_softmax_of_a_linear_map() -> None:
    router, hidden = make_token(), torch.randn(2, 3, 12)

    weights = router(hidden, TaskContext()).weights

    logits = torch.stack([hidden @ router.weight[e] for e in range(4)], dim=-1)
    expected = logits.exp() / logits.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(weights[:, :, 0], expected)


def test_starts_uniform_within_one_over_the_root_of_the_width() -> None:
    weight = make_token(d=100).weight

    assert weight.abs().max() <= 0.1
    torch.testing.assert_close(weight.std(), torch.tensor(0.1 / 3**0.5), rtol=0.1, atol=0)


def test_under_autocast_the_softmax_is_in_float32() -> None:
    router, hidden = make_token(), torch.randn(2, 3, 12)

    with torch.autocast("cpu", torch.bfloat16):
        weights = router(hidden, TaskContext()).weights

    # Softmax in bfloat16 would miss a sum of one by up to 1e-2.
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 1), rtol=0, atol=1e-6)
