from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

import mtlora_placements
from mtlora_core.errors import CompositionError
from mtlora_core.sites import BackboneShape, Projection, Site
from mtlora_core.testing import check_placement, described, tiny_shape
from mtlora_placements.component import ComponentOptions, place


def sites(options: Mapping[str, Any], shape: BackboneShape | None = None) -> list[Site]:
    return place(ComponentOptions.model_validate(dict(options)), shape or tiny_shape())


def names(options: Mapping[str, Any]) -> list[str]:
    return [site.name for site in sites(options)]


@pytest.mark.parametrize("options", [{}, {"at": ["up", "down"]}, {"layers": [0, -1]}])
def test_keeps_the_contract_of_a_placement(options: Mapping[str, Any]) -> None:
    check_placement(described(mtlora_placements, "placement", "component"), options)


def test_adapts_query_and_value_of_every_layer_unless_told_otherwise() -> None:
    assert names({}) == [f"layer{i}_{role}" for i in range(3) for role in "qv"]


def test_at_chooses_the_roles_in_the_order_written() -> None:
    assert names({"at": ["down", "k"], "layers": [0]}) == ["layer0_down", "layer0_k"]


@pytest.mark.parametrize("layers", [[0, 2], [2, 0], [-1, 0], [-3, -1]])
def test_layers_chooses_from_either_end_in_the_order_of_the_model(layers: list[int]) -> None:
    assert names({"at": ["q"], "layers": layers}) == ["layer0_q", "layer2_q"]


def test_layers_stand_in_the_order_of_the_model_in_a_deep_one_too() -> None:
    found = sites({"at": ["q"], "layers": [32, 8, 0]}, tiny_shape(layers=33))

    assert [site.layer for site in found] == [0, 8, 32]


def test_a_site_has_the_projections_widths_and_slice() -> None:
    shape = tiny_shape(layers=1)
    fused = Projection("layers.0.qkv", 12, 12, start=24)
    layer = replace(shape.layers[0], projections={"v": fused})

    (site,) = sites({"at": ["v"]}, replace(shape, layers=(layer,)))

    assert site == Site(
        "layer0_v", "projection", 0, "layers.0.qkv", "layers.0.qkv", d=12, o=12, start=24
    )


def test_reports_every_role_and_layer_that_is_not_there_at_once() -> None:
    with pytest.raises(CompositionError) as caught:
        sites({"at": ["q", "gate"], "layers": [0, 3, -4]})

    assert caught.value.problems == (
        "at: there is no projection 'gate' in layer 0 of this tiny; it has q, k, v, o, up, down",
        "layers: there is no layer 3; this tiny has layers 0 to 2, or -3 to -1 from the end",
        "layers: there is no layer -4; this tiny has layers 0 to 2, or -3 to -1 from the end",
    )


def test_a_role_that_only_a_later_layer_lacks_is_reported_with_that_layer() -> None:
    shape = tiny_shape(roles=("q", "k"))
    last = replace(shape.layers[2], projections={"q": shape.layers[2].projections["q"]})

    with pytest.raises(CompositionError, match=r"'k' in layer 2 of this tiny; it has q$"):
        sites({"at": ["k"]}, replace(shape, layers=(*shape.layers[:2], last)))


def test_one_layer_under_two_numbers_is_an_error() -> None:
    with pytest.raises(CompositionError, match="-1 and 2 are one layer of 3"):
        sites({"layers": [2, -1]})


@pytest.mark.parametrize(
    "options",
    [{"at": []}, {"at": ["query"]}, {"at": ["q", "q"]}, {"layers": []}, {"layers": [1, 1]}],
)
def test_refuses_a_choice_that_chooses_nothing_or_twice(options: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ComponentOptions.model_validate(options)
