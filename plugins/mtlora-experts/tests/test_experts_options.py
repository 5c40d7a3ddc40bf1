from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mtlora_core.options import Options
from mtlora_core.testing import tiny_shape, tiny_site
from mtlora_experts.options import (
    DoraOptions,
    HydraOptions,
    LoraOptions,
    MoeOptions,
    MtlOptions,
    MultiLoraOptions,
    PerTaskOptions,
    RankOneOptions,
)

WITH_A_RANK: list[type[Options]] = [
    LoraOptions,
    PerTaskOptions,
    DoraOptions,
    MultiLoraOptions,
    HydraOptions,
    MtlOptions,
]
MANY: list[type[Options]] = [
    MultiLoraOptions,
    HydraOptions,
    MoeOptions,
    MtlOptions,
    RankOneOptions,
]
every_class = pytest.mark.parametrize("options", {*WITH_A_RANK, *MANY})
each_with_a_rank_of_its_own = pytest.mark.parametrize("options", WITH_A_RANK)
many = pytest.mark.parametrize("options", MANY)


@each_with_a_rank_of_its_own
def test_a_rank_up_to_the_narrower_width_is_fine(options: type[Options]) -> None:
    made = options.model_validate({"rank": 12})

    assert not list(made.problems(tiny_shape(), [tiny_site(d=12, o=16), tiny_site(d=16, o=12)]))


@each_with_a_rank_of_its_own
def test_a_rank_over_a_width_names_site_and_widths_once_for_all_like_it(
    options: type[Options],
) -> None:
    narrow = [tiny_site(d=12, o=16)] * 3

    problems = list(
        options.model_validate({"rank": 13}).problems(
            tiny_shape(), [*narrow, tiny_site(d=16, o=16)]
        )
    )

    assert problems == [
        (
            "rank",
            "13 is over the width of site layer0_q (and 2 more like it), which maps 12 to 16; "
            "at most 12 is of low rank there",
        )
    ]


@every_class
@pytest.mark.parametrize("value", [{"alpha": 0}, {"dropout": 1}, {"dropout": -0.1}])
def test_refuses_values_that_make_no_update(options: type[Options], value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options.model_validate(value)


@each_with_a_rank_of_its_own
def test_refuses_a_rank_of_zero(options: type[Options]) -> None:
    with pytest.raises(ValidationError):
        options.model_validate({"rank": 0})


def test_as_many_rank_one_experts_as_there_are_coordinates_and_more_are_fine() -> None:
    assert not list(RankOneOptions(count=64).problems(tiny_shape(), [tiny_site(d=12, o=16)]))


@many
def test_refuses_no_experts(options: type[Options]) -> None:
    with pytest.raises(ValidationError):
        options.model_validate({"count": 0})


def test_refuses_a_transform_there_is_not() -> None:
    with pytest.raises(ValidationError):
        MtlOptions.model_validate({"transform": "linear"})
