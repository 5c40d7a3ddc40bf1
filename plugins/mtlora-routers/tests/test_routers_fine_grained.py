from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import mtlora_routers
from mtlora_core.context import TaskContext
from mtlora_core.testing import check_router, described, tiny_shape, tiny_site
from mtlora_routers.fine_grained import FineGrained
from mtlora_routers.options import FineGrainedOptions, TokenOptions, nearest_divisors
from mtlora_routers.token import Token


def make_fine_grained(groups: int) -> FineGrained:
    torch.manual_seed(0)
    return FineGrained(FineGrainedOptions(groups=groups), tiny_site(), 4, ())


@pytest.mark.parametrize("groups", [1, 2, 16])
def test_keeps_the_contract_of_a_router(groups: int) -> None:
    check_router(described(mtlora_routers, "router", "fine-grained"), {"groups": groups})


@pytest.mark.parametrize("groups", [2, 8])
def test_groups_is_the_number_of_weights_a_token_has_for_each_expert(groups: int) -> None:
    router = make_fine_grained(groups)

    assert router.weight.shape == (groups * 4, 12)
    weights = router(torch.randn(2, 3, 12), TaskContext()).weights
    assert weights.shape == (2, 3, groups, 4)


def test_rows_of_the_weight_are_group_major_with_the_expert_fastest() -> None:
    router, hidden = make_fine_grained(2), torch.randn(2, 3, 12)

    weights = router(hidden, TaskContext()).weights

    for group in range(2):
        logits = torch.stack([hidden @ router.weight[group * 4 + e] for e in range(4)], dim=-1)
        torch.testing.assert_close(weights[:, :, group], logits.softmax(-1))


def test_one_group_is_the_token_router() -> None:
    router, hidden = make_fine_grained(1), torch.randn(2, 3, 12)
    token = Token(TokenOptions(), tiny_site(), 4, ())
    token.load_state_dict(router.state_dict())

    expected = token(hidden, TaskContext()).weights
    assert torch.equal(router(hidden, TaskContext()).weights, expected)


def test_names_each_width_that_the_groups_do_not_divide_and_what_would() -> None:
    sites = [tiny_site(o=16), tiny_site(o=16), tiny_site(o=12), tiny_site(o=20)]

    problems = list(FineGrainedOptions(groups=5).problems(tiny_shape(), sites))

    assert problems == [
        (
            "groups",
            "5 groups do not divide the 12 output dimensions of site layer0_q; 4 or 6 would",
        ),
        (
            "groups",
            "5 groups do not divide the 16 output dimensions of site layer0_q; 4 or 8 would",
        ),
    ]


def test_more_groups_than_dimensions_are_told_the_most_there_can_be() -> None:
    ((_, reason),) = FineGrainedOptions(groups=17).problems(tiny_shape(), [tiny_site(o=16)])

    assert reason.endswith("; 16 would")


@given(width=st.integers(1, 200), groups=st.integers(1, 250))
def test_nearest_divisors_divide_and_nothing_nearer_does(width: int, groups: int) -> None:
    near = nearest_divisors(width, groups)

    assert all(width % n == 0 for n in near)
    between = range(min(near, default=1) + 1, max([*near, groups]))
    assert not [n for n in between if width % n == 0 and n != groups and n not in near]


@pytest.mark.parametrize("groups", [0, -2, 1.5])
def test_refuses_groups_that_are_no_positive_number(groups: float) -> None:
    with pytest.raises(ValidationError):
        FineGrainedOptions.model_validate({"groups": groups})
