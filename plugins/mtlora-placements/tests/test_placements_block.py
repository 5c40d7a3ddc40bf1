from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

import mtlora_placements
from mtlora_core.errors import CompositionError
from mtlora_core.sites import Site
from mtlora_core.testing import check_placement, described, tiny_shape
from mtlora_placements.block import BlockOptions, place


def sites(options: Mapping[str, Any]) -> list[Site]:
    return place(BlockOptions.model_validate(dict(options)), tiny_shape())


@pytest.mark.parametrize("options", [{}, {"at": ["attention", "ffn"]}, {"layers": [-1]}])
def test_keeps_the_contract_of_a_placement(options: Mapping[str, Any]) -> None:
    check_placement(described(mtlora_placements, "placement", "block"), options)


def test_adapts_the_ffn_of_every_layer_unless_told_otherwise() -> None:
    assert [site.name for site in sites({})] == ["layer0_ffn", "layer1_ffn", "layer2_ffn"]


def test_at_chooses_the_blocks() -> None:
    found = [site.name for site in sites({"at": ["attention", "ffn"], "layers": [0]})]

    assert found == ["layer0_attention", "layer0_ffn"]


def test_layers_chooses_from_either_end() -> None:
    assert [site.layer for site in sites({"layers": [-1, 0]})] == [0, 2]


def test_reads_what_the_block_reads_and_adds_to_what_the_block_adds() -> None:
    (site,) = sites({"at": ["attention"], "layers": [1]})

    assert (site.reads, site.adds) == ("layers.1.attention", "layers.1.attention.o")
    assert (site.d, site.o) == (12, 12)


def test_reports_every_layer_that_is_not_there_at_once() -> None:
    with pytest.raises(CompositionError) as caught:
        sites({"layers": [3, -4]})

    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("options", [{"at": []}, {"at": ["mlp"]}, {"at": ["ffn", "ffn"]}])
def test_refuses_a_choice_that_chooses_nothing_or_twice(options: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BlockOptions.model_validate(options)
