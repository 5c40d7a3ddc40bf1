"""Models that read pictures: their rows, what they read, and what they refuse."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from mtlora_core.errors import CompositionError, DataError
from mtlora_core.inputs import Chat, Image, ImageFile, Pixels
from mtlora_core.sites import BackboneShape
from mtlora_core.testing import check_backbone, described
from mtlora_transformers.backbone import TransformersBackbone
from mtlora_transformers.build import build
from mtlora_transformers.description import describe, positions_of
from mtlora_transformers.families import FAMILIES, RENAMED, row_of
from mtlora_transformers.library import transformers
from mtlora_transformers.options import TransformersOptions
from mtlora_transformers.testing import families_reading, save_tiny, tiny_config

import mtlora_transformers  # isort: skip  # the door, under its own name

families = pytest.mark.parametrize("family", families_reading("image"))
BEFORE = {"deit": 2, "dinov2": 1, "dinov2_with_registers": 4, "vit": 1}
"""Tokens before those of the picture, in the tiny models."""
CLASSIFIERS = {
    "deit": "DeiTForImageClassification",
    "dinov2": "Dinov2ForImageClassification",
    "dinov2_with_registers": "Dinov2WithRegistersForImageClassification",
    "vit": "ViTForImageClassification",
}


def pictures(count: int = 3, height: int = 40, width: int = 52) -> list[Image]:
    drawn = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return [Pixels(each.tobytes(), height, width, 3) for each in drawn]


def make(folder: Path, **changes: Any) -> TransformersBackbone:
    return build(TransformersOptions(model=str(folder), **changes))


def features(backbone: TransformersBackbone, images: Sequence[Image] | None = None) -> Tensor:
    given = pictures() if images is None else images
    pooled: Tensor = backbone.features(backbone.collate(backbone.encode(given)))
    return pooled


def modules_of(shape: BackboneShape) -> set[str]:
    blocks = [block for layer in shape.layers for block in (layer.attention, layer.ffn)]
    projections = {p.module for layer in shape.layers for p in layer.projections.values()}
    return projections | {name for block in blocks for name in (block.reads, block.adds)}


def problems(folder: Path, **changes: Any) -> list[tuple[str, str]]:
    options = TransformersOptions(model=str(folder), **changes)
    return list(options.problems(options.shape(), ()))


@families
@pytest.mark.parametrize("pooling", [None, "mean"])
def test_keeps_the_contract_of_a_backbone(family: str, pooling: str | None, tmp_path: Path) -> None:
    check_backbone(
        described(mtlora_transformers, "backbone", "transformers"),
        {"model": str(save_tiny(tmp_path, family)), "pooling": pooling},
        [*pictures(2), *pictures(1, height=64, width=33)],
    )


# The rows


@families
def test_the_configuration_says_what_the_built_model_says(family: str, tmp_path: Path) -> None:
    config = tiny_config(family)
    config.save_pretrained(tmp_path)
    model = transformers.AutoModel.from_config(config)

    shape = TransformersOptions(model=str(tmp_path)).shape()

    assert shape == TransformersOptions.shape_of(model)
    assert (shape.family, shape.width, len(shape.layers)) == (family, 32, 2)
    assert (shape.reads, shape.causal) == ("image", False)
    assert modules_of(shape) <= dict(model.named_modules()).keys()
    up = shape.layers[1].projections["up"]
    assert tuple(model.get_submodule(up.module).weight.shape) == (up.o, up.d)


@families
def test_a_model_with_a_classifier_has_the_same_shape_behind_a_prefix(family: str) -> None:
    config = tiny_config(family)
    model = getattr(transformers, CLASSIFIERS[family])(config)

    shape = TransformersOptions.shape_of(model)

    assert shape == describe(config.to_dict(), prefix=f"{model.base_model_prefix}.")
    assert modules_of(shape) <= dict(model.named_modules()).keys()


@families
def test_a_bare_configuration_has_the_defaults_of_the_family(family: str) -> None:
    full = transformers.AutoConfig.for_model(family)

    assert describe({"model_type": family}) == describe(full.to_dict())
    assert positions_of({"model_type": family}) is None


@families
def test_the_blocks_add_what_the_residual_stream_gets(family: str, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, family))
    block, path = backbone.options.shape().layers[1], f"{FAMILIES[family].layers}.1"
    seen: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            seen[f"{name}:in"] = args[0]
            seen[f"{name}:out"] = output[0] if isinstance(output, tuple) else output

        return hook

    for name in (path, block.attention.adds, block.ffn.adds):
        backbone.module.get_submodule(name).register_forward_hook(record(name))
    features(backbone)

    added = seen[f"{block.attention.adds}:out"] + seen[f"{block.ffn.adds}:out"]
    torch.testing.assert_close(seen[f"{path}:out"], seen[f"{path}:in"] + added)


@pytest.mark.parametrize(
    ("family", "release", "layers", "query"),
    [
        ("vit", "4.57.6", "encoder.layer", "attention.attention.query"),
        ("vit", "5.8.1", "encoder.layer", "attention.attention.query"),
        ("vit", "5.9.0", "layers", "attention.q_proj"),
        ("deit", "5.10.4", "layers", "attention.q_proj"),
        ("dinov2", "5.17.0", "encoder.layer", "attention.attention.query"),
        ("dinov2", "5.18.0", "encoder.layer", "attention.q_proj"),
        ("dinov2_with_registers", "6.0.0.dev0", "encoder.layer", "attention.q_proj"),
    ],
)
def test_a_renamed_family_has_a_row_for_each_name(
    family: str, release: str, layers: str, query: str
) -> None:
    row = row_of(RENAMED[family], release)

    assert (row.layers, row.projections["q"].module) == (layers, query)
    assert FAMILIES[family] == row_of(RENAMED[family], version("transformers"))


def test_the_largest_dinov2_has_no_row_for_its_gated_ffn() -> None:
    config = tiny_config("dinov2", use_swiglu_ffn=True)
    model = transformers.AutoModel.from_config(config)

    shape = TransformersOptions.shape_of(model)

    assert set(shape.layers[0].projections) == {"q", "k", "v", "o"}
    assert shape.layers[0].ffn.adds == "encoder.layer.0.layer_scale2"


# What is read


@families
def test_features_are_those_of_the_library(family: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, family)
    own = transformers.AutoModel.from_pretrained(folder).eval()
    old = transformers.__version__ < "5"
    backend: dict[str, Any] = {"use_fast": False} if old else {"backend": "pil"}
    processor = transformers.AutoImageProcessor.from_pretrained(folder, **backend)

    pixels = processor(images=[each.open() for each in pictures()], return_tensors="pt")
    with torch.no_grad():
        hidden = own(pixels["pixel_values"]).last_hidden_state

    torch.testing.assert_close(features(make(folder)), hidden[:, 0])
    before = BEFORE[family]
    torch.testing.assert_close(features(make(folder, pooling="mean")), hidden[:, before:].mean(1))


@families
def test_a_picture_has_as_many_tokens_as_the_model_makes_of_it(family: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, family)

    for side, patches in ((None, 16), (48, 36), (16, 4)):
        backbone = make(folder, image_size=side)
        rows = backbone.encode(pictures())
        inputs = backbone.collate(rows)
        assert [row.length for row in rows] == [patches + BEFORE[family]] * 3
        assert inputs.tensors["pixel_values"].shape[2:] == (side or 32, side or 32)
        assert backbone(inputs).shape == (*inputs.mask.shape, 32)
        assert inputs.mask.all()


@families
def test_positions_are_interpolated_to_image_size(family: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, family)

    small, own, same = (features(make(folder, image_size=size)) for size in (16, None, 32))

    torch.testing.assert_close(own, same)
    assert not torch.allclose(small, own, atol=1e-3)


def test_a_larger_square_is_cut_from_a_larger_picture(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "dinov2")
    plain, image = make(folder), [Pixels(bytes([200]) * 3 * 64 * 64, 64, 64, 3)]
    doubled = make(folder, image_size=64)

    # One colour: the crop of a picture resized in proportion shows the same.
    a = plain.collate(plain.encode(image)).tensors["pixel_values"]
    b = doubled.collate(doubled.encode(image)).tensors["pixel_values"]

    torch.testing.assert_close(a.mean((2, 3)), b.mean((2, 3)))
    assert doubled.reader.processor.size["shortest_edge"] == 72  # type: ignore[attr-defined]


def test_files_and_pictures_in_memory_are_read_alike(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path / "model", "vit"))
    files: list[Image] = []
    for number, picture in enumerate(pictures()):
        assert isinstance(picture, Pixels)
        path = tmp_path / f"{number}.png"
        picture.open().save(path)
        files.append(ImageFile(str(path)))

    assert torch.equal(features(backbone, files), features(backbone))


def test_a_grey_picture_is_read_in_three_channels(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "vit"))
    grey = np.random.default_rng(1).integers(0, 256, (30, 30), dtype=np.uint8)
    coloured = np.repeat(grey[..., None], 3, axis=-1)

    one = features(backbone, [Pixels(grey.tobytes(), 30, 30, 1)])

    assert torch.equal(one, features(backbone, [Pixels(coloured.tobytes(), 30, 30, 3)]))


def test_files_are_decoded_when_a_batch_is_collated(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "vit"))
    rows = backbone.encode([ImageFile(str(tmp_path / "later.png"))])

    with pytest.raises(DataError, match=r"later\.png: is no picture that can be read"):
        backbone.collate(rows)
    Pillow.new("RGB", (20, 20)).save(tmp_path / "later.png")

    assert backbone.collate(rows).tensors["pixel_values"].shape == (1, 3, 32, 32)


def damaged_png() -> bytes:
    """Return a picture that begins well: only its second block of pixels has a wrong name."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    stream = BytesIO()
    Pillow.fromarray(noise).save(stream, "PNG")
    start, first, *rest = stream.getvalue().split(b"IDAT")
    return b"IDAT".join([start, first]) + b"\0\1\2\3" + b"IDAT".join(rest)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n and no more", damaged_png()]
)
def test_a_file_that_is_no_picture_is_named(content: bytes, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path / "model", "vit"))
    path = tmp_path / "broken.png"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"broken\.png: is no picture that can be read"):
        backbone.collate(backbone.encode([ImageFile(str(path))]))


@pytest.mark.parametrize("given", ["a text", ("a", "pair"), Chat((("user", "a"),))])
def test_a_model_of_pictures_refuses_texts(given: Any, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "vit"))

    with pytest.raises(DataError, match="the backbone reads pictures, and an example is a"):
        backbone.encode([given])


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_model_of_texts_refuses_pictures(family: str, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, family))

    with pytest.raises(DataError, match="the backbone reads texts, and an example is a picture"):
        backbone.encode(pictures(1))


# Options and files


@pytest.mark.parametrize(
    ("changes", "option", "reason"),
    [
        ({"image_size": 30}, "image_size", "no whole number of patches of 8; write 32"),
        ({"image_size": 3}, "image_size", "no whole number of patches of 8; write 8"),
        ({"pooling": "last"}, "pooling", "write cls or mean"),
    ],
)
def test_what_a_model_of_pictures_cannot_do_is_a_problem(
    changes: Any, option: str, reason: str, tmp_path: Path
) -> None:
    [(found, why)] = problems(save_tiny(tmp_path, "vit"), **changes)

    assert found == option
    assert reason in why


def test_a_text_has_no_image_size(tmp_path: Path) -> None:
    [(option, reason)] = problems(save_tiny(tmp_path, "bert"), max_length=40, image_size=32)

    assert option == "image_size"
    assert "the model reads texts" in reason


@families
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pictures_are_read_in_the_dtype_of_the_weights(
    family: str, dtype: str, tmp_path: Path
) -> None:
    backbone = make(save_tiny(tmp_path, family), dtype=dtype)

    assert {p.dtype for p in backbone.parameters()} == {getattr(torch, dtype)}
    assert features(backbone).dtype == torch.float32


def test_a_missing_image_processor_is_named(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "vit")
    (folder / "preprocessor_config.json").unlink()

    with pytest.raises(CompositionError, match="cannot be loaded"):
        make(folder)


def test_a_processor_that_makes_no_squares_is_named(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 40}).save_pretrained(folder)

    with pytest.raises(CompositionError, match="which are no squares of one size; say image_size"):
        make(folder)
    assert make(folder, image_size=32).encode(pictures(1))[0].length == 17


@families
def test_survives_a_deep_copy_and_pickling(family: str, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, family))
    expected = features(backbone)

    for each in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(features(each), expected)


@families
def test_what_is_saved_can_be_read_again(family: str, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path / "one", family))
    changed = copy.deepcopy(backbone.module)
    with torch.no_grad():
        for parameter in changed.parameters():
            nn.init.normal_(parameter, std=0.1)

    (tmp_path / "other").mkdir()
    backbone.save(changed, tmp_path / "other")

    again = make(tmp_path / "other")
    assert not torch.allclose(features(again), features(backbone), atol=1e-3)
    backbone.module.load_state_dict(changed.state_dict())
    assert torch.equal(features(again), features(backbone))
