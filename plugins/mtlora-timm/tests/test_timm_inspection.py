"""Describing models that somebody has built, and refusing those of other kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtlora_core.errors import CompositionError
from mtlora_timm.inspection import describe_module
from mtlora_timm.library import timm
from mtlora_timm.testing import ARCHITECTURE, SIZE, TINY


def tiny(name: str = TINY["plain"], **arguments: Any) -> Any:
    with torch.device("meta"):
        return timm.create_model(name, img_size=SIZE, **{**ARCHITECTURE, **arguments})


def refusal(module: Any) -> str:
    with pytest.raises(CompositionError) as caught:
        describe_module(module)
    return str(caught.value)


def test_a_model_inside_another_has_its_names_behind_its_own() -> None:
    model = nn.ModuleDict({"eyes": tiny(), "mouth": nn.Linear(2, 2)})

    shape = describe_module(model)

    assert shape.layers[1].attention.reads == "eyes.blocks.1.attn"
    assert shape.layers[1].projections["v"].module == "eyes.blocks.1.attn.qkv"
    assert all(layer.ffn.adds in dict(model.named_modules()) for layer in shape.layers)


def test_two_models_in_one_are_refused() -> None:
    assert "one VisionTransformer of timm, not 2" in refusal(nn.ModuleList([tiny(), tiny()]))


def test_a_model_that_is_no_vision_transformer_is_refused() -> None:
    assert refusal(nn.Linear(2, 2)).startswith(
        "Linear should hold one VisionTransformer of timm, not 0; pass the vision transformer"
    )


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("vit_base_patch16_rpn_224", "ResPostBlock, Attention, Mlp"),
        ("vit_base_patch16_xp_224", "ParallelScalingBlock, NoneType, NoneType"),
        ("vit_dwee_patch16_reg1_gap_256", "Block, DiffAttention, Mlp"),
    ],
)
def test_layers_of_other_kinds_are_refused(name: str, kinds: str) -> None:
    assert refusal(tiny(name, depth=1)) == (
        f"a layer should be a Block of Attention and Mlp, not {kinds}"
    )


def test_a_gate_behind_what_it_gates_is_refused() -> None:
    model = tiny(mlp_layer=timm.layers.GluMlp)  # gates with its second half

    assert refusal(model).endswith("not Block, Attention, GluMlp")


def test_layers_that_are_not_alike_are_refused() -> None:
    model = tiny()
    model.blocks[1].mlp = timm.layers.Mlp(32, 64)

    assert refusal(model) == "the layers should be alike; they are of 2 sizes"


def test_heads_that_are_wider_than_the_residual_stream_are_refused() -> None:
    model = tiny()
    model.blocks[0].attn = timm.layers.Attention(32, num_heads=4, attn_head_dim=16)

    assert refusal(model) == "attn.qkv should give 96 numbers, not 192"
