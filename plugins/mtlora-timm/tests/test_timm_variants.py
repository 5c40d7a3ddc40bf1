"""The table of variants, against every model of timm that it claims to know."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from mtlora_core.errors import CompositionError
from mtlora_timm.inspection import describe_module
from mtlora_timm.library import timm
from mtlora_timm.options import TimmOptions
from mtlora_timm.variants import VARIANTS, patch_of, variant_of

NAMES: list[str] = [
    name for name in timm.list_models() if name.startswith(("vit", "deit", "flexivit", "eva"))
]


def known(name: str) -> bool:
    try:
        variant_of(name)
    except CompositionError:
        return False
    return True


def built(name: str, **arguments: Any) -> Any:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0, **arguments)


def test_the_table_knows_the_usual_models() -> None:
    usual = [
        "deit3_base_patch16_224",
        "deit_tiny_patch16_224",
        "vit_base_patch16_224",
        "vit_base_patch16_clip_224",
        "vit_giant_patch14_dinov2",
        "vit_large_patch14_reg4_dinov2",
        "vit_small_patch14_dinov2",
        "vit_so400m_patch14_siglip_384",
    ]

    assert [name for name in usual if name not in NAMES or not known(name)] == []
    assert sum(map(known, NAMES)) >= 100


@pytest.mark.parametrize("size", VARIANTS)
def test_each_row_is_the_shape_of_the_models_that_have_its_name(size: str) -> None:
    names = named(size)
    assert names

    for name in names:
        # Two layers tell as much as forty: the depth is compared apart.
        model = built(name, depth=2)
        options = TimmOptions.model_validate({"model": name, "architecture": {"depth": 2}})
        assert describe_module(model) == options.shape(), name
        assert model.patch_embed.patch_size == (patch_of(name),) * 2, name
        rates = {getattr(part, "p", getattr(part, "drop_prob", 0)) for part in model.modules()}
        assert rates <= {0.0, None}, f"{name} has dropout of its own"


@pytest.mark.parametrize("size", VARIANTS)
def test_each_row_is_as_deep_as_the_models_that_have_its_name(size: str) -> None:
    for name in named(size):
        Counted.made = 0
        built(name, block_fn=Counted)
        assert Counted.made == VARIANTS[size].depth, name


class Counted(nn.Module):
    """Stands for a layer, and is counted."""

    made = 0

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        Counted.made += 1


def named(size: str) -> list[str]:
    """Return the models of a row."""
    return [name for name in NAMES if known(name) and variant_of(name) is VARIANTS[size]]


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_r50_s16_224",  # patches from convolutions
        "vit_small_resnet26d_224",
        "vit_base_patch16_rpn_224",  # norms behind the blocks
        "vit_base_patch16_xp_224",  # attention and FFN side by side
        "vit_small_patch16_18x2_224",
        "vit_dwee_patch16_reg1_gap_256",  # differential attention
        "vit_small_patch16_dinov3",  # rotary positions
        "vit_base_patch16_rope_224",
        "vit_relpos_small_patch16_224",
        "vit_base_patch16_radio_v3",  # positions of its own
        "flexivit_small",
        "resnet50",
        "vit_small_patch14_dinov2_and_more",
    ],
)
def test_other_models_are_refused_by_name_with_what_is_known(name: str) -> None:
    with pytest.raises(CompositionError) as caught:
        TimmOptions(model=name).shape()

    assert f"model {name!r} is no plain vision transformer" in str(caught.value)
    assert "small, medium" in str(caught.value)


def test_a_tag_of_weights_changes_nothing_of_the_shape() -> None:
    plain, tagged = "vit_small_patch14_dinov2", "vit_small_patch14_dinov2.lvd142m"

    assert TimmOptions(model=plain).shape() == TimmOptions(model=tagged).shape()
    assert patch_of(tagged) == 14


def test_a_shape_is_had_without_torch_and_timm() -> None:
    code = (
        "import sys\n"
        "from mtlora_timm.options import TimmOptions\n"
        "shape = TimmOptions(model='vit_small_patch14_dinov2').shape()\n"
        "assert (shape.width, len(shape.layers), shape.reads) == (384, 12, 'image'), shape\n"
        "print(sorted({'torch', 'timm', 'torchvision', 'PIL', 'numpy'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
