"""What a recipe may say of a model, and what is told before torch is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtlora_core.errors import CompositionError
from mtlora_core.options import RecipeText
from mtlora_core.sites import Block, Projection
from mtlora_timm.options import TimmOptions

SMALL = "vit_small_patch14_dinov2"


def problems(**values: Any) -> dict[str, str]:
    options = TimmOptions.model_validate({"model": SMALL, **values})
    return dict(options.problems(options.shape(), ()))


def test_a_layer_has_its_blocks_outside_of_layer_scale_and_slices_of_the_fused_projection() -> None:
    layer = TimmOptions(model=SMALL).shape().layers[11]

    assert layer.attention == Block("blocks.11.attn", "blocks.11.drop_path1")
    assert layer.ffn == Block("blocks.11.mlp", "blocks.11.drop_path2")
    assert layer.projections == {
        "q": Projection("blocks.11.attn.qkv", 384, 384, 0),
        "k": Projection("blocks.11.attn.qkv", 384, 384, 384),
        "v": Projection("blocks.11.attn.qkv", 384, 384, 768),
        "o": Projection("blocks.11.attn.proj", 384, 384),
        "up": Projection("blocks.11.mlp.fc1", 384, 1536),
        "down": Projection("blocks.11.mlp.fc2", 1536, 384),
    }


def test_swiglu_has_its_gate_and_its_up_projection_side_by_side() -> None:
    projections = TimmOptions(model="vit_giant_patch14_dinov2").shape().layers[0].projections

    assert projections["gate"] == Projection("blocks.0.mlp.fc1", 1536, 4096, 0)
    assert projections["up"] == Projection("blocks.0.mlp.fc1", 1536, 4096, 4096)
    assert projections["down"] == Projection("blocks.0.mlp.fc2", 4096, 1536)


def test_an_architecture_of_ones_own_changes_what_it_names() -> None:
    own = {"embed_dim": 64, "depth": 3, "mlp_ratio": 2.5}

    shape = TimmOptions.model_validate({"model": SMALL, "architecture": own}).shape()

    assert (shape.width, len(shape.layers)) == (64, 3)
    assert shape.layers[2].projections["up"].o == 160


def test_a_model_of_an_unknown_name_may_be_described() -> None:
    own: dict[str, Any] = {"model": "vit_new_patch16_224", "architecture": {"embed_dim": 64}}
    with pytest.raises(CompositionError, match="is no plain vision transformer by its name"):
        TimmOptions.model_validate(own).shape()

    own["architecture"]["depth"] = 2
    shape = TimmOptions.model_validate(own).shape()

    assert (shape.width, len(shape.layers), shape.layers[0].projections["up"].o) == (64, 2, 256)


def test_a_checkpoint_is_relative_to_the_recipes_file(tmp_path: Path) -> None:
    written = RecipeText("here/model.safetensors", tmp_path)

    options = TimmOptions.model_validate({"model": SMALL, "checkpoint": written})

    assert options.checkpoint == tmp_path / "here/model.safetensors"


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "model.pt", "model.npz"])
def test_formats_that_run_code_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ValidationError, match=r"run code when they are read.*save_file"):
        TimmOptions.model_validate({"model": SMALL, "checkpoint": name})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", ""),
        ("image_size", 0),
        ("crop", 0),
        ("crop", 1.5),
        ("pooling", "last"),
        ("dtype", "int8"),
        ("architecture", {"embed_dim": 0}),
        ("architecture", {"width": 4}),
        ("max_length", 4),
    ],
)
def test_values_that_mean_nothing_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=key):
        TimmOptions.model_validate({"model": SMALL, key: value})


@pytest.mark.parametrize(
    ("size", "near"), [(224, None), (56, None), (64, 70), (10, 14), (1, 14), (None, None)]
)
def test_an_image_size_is_a_multiple_of_the_patch(size: int | None, near: int | None) -> None:
    found = problems(image_size=size)

    assert found == (
        {}
        if near is None
        else {"image_size": f"{size} is no multiple of the patch, 14; say {near}"}
    )


def test_the_patch_of_ones_own_counts() -> None:
    assert problems(image_size=64, architecture={"patch_size": 8}) == {}
    assert (
        "no multiple of the patch, 8"
        in (problems(image_size=56 + 4, architecture={"patch_size": 8})["image_size"])
    )


def test_a_checkpoint_that_is_missing_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    gone = tmp_path / "gone.safetensors"

    assert problems(checkpoint=str(gone)) == {"checkpoint": f"there is no file {gone}"}


def test_weights_come_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()

    assert problems(checkpoint=str(file)) == problems(pretrained=True) == {}
    assert "leave one out" in problems(checkpoint=str(file), pretrained=True)["pretrained"]
