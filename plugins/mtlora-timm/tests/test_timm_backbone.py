"""The backbone: what it reads, what it gives, and what never changes it."""

from __future__ import annotations

import copy
import os
import pickle
import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mtlora_core.context import TaskContext
from mtlora_core.errors import CompositionError, DataError
from mtlora_core.inputs import ImageFile, Input, Pixels
from mtlora_core.testing import check_backbone, check_plugin, described
from mtlora_timm.backbone import TimmBackbone, build
from mtlora_timm.library import timm
from mtlora_timm.options import TimmOptions
from mtlora_timm.testing import SIZE, TINY, pictures, save_tiny

import mtlora_timm  # isort: skip  # the door, under its own name

SHARED = Path(os.environ.get("MTLORA_SHARED", Path(__file__).parents[4] / "shared"))
DERIVED = SHARED / "models" / "dinov2-small-derived" / "model.safetensors"

kinds = pytest.mark.parametrize("kind", TINY)


def make(folder: Path, kind: str = "plain", **changes: Any) -> TimmBackbone:
    return build(TimmOptions.model_validate(save_tiny(folder, kind) | changes))


def features(backbone: TimmBackbone, inputs: Any = None) -> Tensor:
    return backbone.features(backbone.collate(backbone.encode(inputs or pictures(3))))


def reference(folder: Path, kind: str) -> Any:
    """Return the saved model as timm itself makes and loads it."""
    options = save_tiny(folder, kind)
    model = timm.create_model(
        options["model"], num_classes=0, img_size=SIZE, **options["architecture"]
    )
    model.load_state_dict(load_file(options["checkpoint"]))
    return model.eval().requires_grad_(False)


@kinds
def test_keeps_the_contract_of_a_backbone(kind: str, tmp_path: Path) -> None:
    check_backbone(
        described(mtlora_timm, "backbone", "timm"), save_tiny(tmp_path, kind), pictures(3)
    )


def test_keeps_the_contract_of_a_plugin() -> None:
    check_plugin(mtlora_timm)


@kinds
def test_tokens_and_features_are_those_of_timm(kind: str, tmp_path: Path) -> None:
    backbone, model = make(tmp_path, kind), reference(tmp_path, kind)

    inputs = backbone.collate(backbone.encode(pictures(3)))

    assert torch.equal(backbone(inputs), model.forward_features(inputs.tensors["pixels"]))
    assert torch.equal(backbone.features(inputs), model(inputs.tensors["pixels"]))


@kinds
def test_the_model_is_timms_own_class_with_its_own_names(kind: str, tmp_path: Path) -> None:
    backbone, model = make(tmp_path, kind), reference(tmp_path, kind)

    assert type(backbone.module) is type(model)
    assert backbone.module.state_dict().keys() == model.state_dict().keys()


@kinds
def test_every_weight_is_frozen(kind: str, tmp_path: Path) -> None:
    assert not [name for name, p in make(tmp_path, kind).named_parameters() if p.requires_grad]


# What is read


def test_pictures_are_read_by_timms_own_transform(tmp_path: Path) -> None:
    backbone = make(tmp_path)
    config = timm.data.resolve_model_data_config(
        backbone.module, args={"input_size": (3, SIZE, SIZE)}
    )
    transform = timm.data.create_transform(**config, is_training=False)
    given = pictures(3)

    inputs = backbone.collate(backbone.encode(given))

    assert config["mean"] == (0.5, 0.5, 0.5)
    for tensor, picture in zip(inputs.tensors["pixels"], given, strict=True):
        assert torch.equal(tensor, transform(picture.open()))


def test_a_picture_is_the_same_from_a_file_and_from_memory(tmp_path: Path) -> None:
    backbone = make(tmp_path)
    grey = pictures(1)[0]
    Pillow.frombytes("L", (grey.width, grey.height), grey.data).save(tmp_path / "a.png")

    inputs = backbone.collate(backbone.encode([grey, ImageFile(str(tmp_path / "a.png"))]))

    first, second = inputs.tensors["pixels"]
    assert torch.equal(first, second)


def test_files_are_opened_when_a_batch_wants_them(tmp_path: Path) -> None:
    backbone = make(tmp_path)
    rows = backbone.encode([ImageFile(str(tmp_path / "gone.png"))])

    with pytest.raises(DataError, match=r"gone\.png: is no picture that can be read"):
        backbone.collate(rows)


def damaged_png() -> bytes:
    """Return a picture that begins well: only its second block of pixels has a wrong name."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    stream = BytesIO()
    Pillow.fromarray(noise).save(stream, "PNG")
    start, first, *rest = stream.getvalue().split(b"IDAT")
    return b"IDAT".join([start, first]) + b"\0\1\2\3" + b"IDAT".join(rest)


def test_a_picture_that_is_damaged_in_its_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(damaged_png())
    backbone = make(tmp_path)

    with pytest.raises(DataError, match=r"damaged\.png: is no picture that can be read: broken"):
        backbone.collate(backbone.encode([ImageFile(str(tmp_path / "damaged.png"))]))


def test_texts_are_refused(tmp_path: Path) -> None:
    given: list[Input] = [pictures(1)[0], "a text"]

    with pytest.raises(DataError, match="reads pictures, and an example is a text"):
        make(tmp_path).encode(given)


def test_cropping_is_the_models_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    ring = np.zeros((60, 60), np.uint8)
    ring[:1], ring[-1:], ring[:, :1], ring[:, -1:] = 255, 255, 255, 255
    picture = Pixels(ring.tobytes(), 60, 60, 1)

    def brightest(**changes: Any) -> float:
        backbone = make(tmp_path, **changes)
        return backbone.collate(backbone.encode([picture])).tensors["pixels"].max().item()

    assert brightest() < -0.9  # this model was evaluated on the middle nine tenths
    assert brightest(crop=1) > -0.5
    assert brightest(crop=0.9) == brightest()


def test_the_image_size_sets_the_tokens_and_resamples_the_positions(tmp_path: Path) -> None:
    small, large = make(tmp_path), make(tmp_path, image_size=32)

    assert [b.encode(pictures(1))[0].length for b in (small, large)] == [1 + 9, 1 + 16]
    resampled = timm.layers.resample_abs_pos_embed(
        small.module.get_parameter("pos_embed"), new_size=(4, 4), num_prefix_tokens=1
    )
    assert torch.equal(large.module.get_parameter("pos_embed"), resampled)
    assert large.collate(large.encode(pictures(1))).tensors["pixels"].shape == (1, 3, 32, 32)


def test_a_patch_size_of_ones_own_resamples_the_patches(tmp_path: Path) -> None:
    options = save_tiny(tmp_path)
    options["architecture"]["patch_size"] = 12

    backbone = build(TimmOptions.model_validate(options))

    assert backbone.encode(pictures(1))[0].length == 1 + 4
    assert features(backbone).isfinite().all()


# What is given


def test_the_gate_of_swiglu_is_where_the_shape_says(tmp_path: Path) -> None:
    backbone = make(tmp_path, "swiglu")
    roles = backbone.options.shape().layers[0].projections
    mlp: Any = backbone.module.get_submodule("blocks.0.mlp")
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))

    gate, up = (
        mlp.fc1(hidden)[:, roles[role].start or 0 :][:, : roles[role].o] for role in ("gate", "up")
    )

    torch.testing.assert_close(mlp(hidden), mlp.fc2(nn.functional.silu(gate) * up))


def test_the_number_of_heads_changes_the_features(tmp_path: Path) -> None:
    options = save_tiny(tmp_path)
    other = {**options, "architecture": {**options["architecture"], "num_heads": 2}}

    one, two = (build(TimmOptions.model_validate(each)) for each in (options, other))

    assert not torch.allclose(features(one), features(two), atol=1e-3)


@kinds
def test_pooling_takes_the_class_token_or_the_mean_of_the_patches(
    kind: str, tmp_path: Path
) -> None:
    mean = make(tmp_path, kind, pooling="mean")
    model: Any = reference(tmp_path, kind)
    inputs = mean.collate(mean.encode(pictures(3)))
    tokens = model.forward_features(inputs.tensors["pixels"])

    patches = tokens[:, model.num_prefix_tokens :].mean(1)

    assert tokens.shape[1] == model.num_prefix_tokens + 9
    torch.testing.assert_close(mean.features(inputs), model.fc_norm(patches))
    if model.has_class_token:
        cls = make(tmp_path, kind, pooling="cls")
        assert torch.equal(cls.features(inputs), model.fc_norm(tokens[:, 0]))
    else:
        with pytest.raises(CompositionError, match="has no class token; write `pooling: mean`"):
            make(tmp_path, kind, pooling="cls")


@kinds
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_and_features_stay_float32(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    half = make(tmp_path, kind, dtype=dtype)
    whole = features(make(tmp_path, kind))

    found = features(half)

    assert next(half.parameters()).dtype == getattr(torch, dtype)
    assert found.dtype == torch.float32
    assert not torch.equal(found, whole)
    assert nn.functional.cosine_similarity(found, whole).min() > 0.98


def test_the_derived_dinov2_tells_characters_apart() -> None:
    if not DERIVED.is_file():
        pytest.skip(f"there is no {DERIVED}")
    from sklearn.linear_model import RidgeClassifier

    alphabet = np.load(SHARED / "data/omniglot/greek.npz", allow_pickle=False)
    names = {"model": "vit_small_patch14_dinov2", "checkpoint": str(DERIVED), "image_size": 56}
    backbone = build(TimmOptions.model_validate(names))
    train, held = (
        (alphabet["labels"] < 8) & (alphabet["split"] == split) for split in (0, 1)
    )  # eight characters, drawn by fourteen people and by two others

    def read(rows: Any) -> Any:
        images = [Pixels(image.tobytes(), 64, 64, 1) for image in alphabet["images"][rows]]
        return features(backbone, images).numpy()

    probe = RidgeClassifier(alpha=100).fit(read(train), alphabet["labels"][train])

    assert probe.score(read(held), alphabet["labels"][held]) >= 0.6


# Checkpointing, copies


def test_checkpointing_wraps_each_layer_and_leaves_class_and_names(tmp_path: Path) -> None:
    backbone = make(tmp_path)
    names = list(backbone.state_dict())
    entered: list[str] = []

    def contexts() -> Any:
        entered.append("layer")
        return TaskContext().checkpoint_contexts()

    backbone.checkpoint(contexts)
    backbone.module.get_submodule("blocks.0.attn.qkv").requires_grad_()
    features(backbone).sum().backward()

    assert entered == ["layer", "layer"]
    assert list(backbone.state_dict()) == names
    assert {type(b) for b in backbone.module.get_submodule("blocks").children()} == {
        timm.models.vision_transformer.Block
    }


@kinds
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_runs_on_weights_of_its_own(
    kind: str, checkpointed: bool, way: str, tmp_path: Path
) -> None:
    backbone = make(tmp_path, kind)
    if checkpointed:
        backbone.checkpoint(TaskContext().checkpoint_contexts)
    before = features(backbone)

    own = copy.deepcopy(backbone) if way == "deepcopy" else pickle.loads(pickle.dumps(backbone))
    assert torch.equal(features(own), before)
    for parameter in own.parameters():
        parameter.add_(1)

    assert not torch.equal(features(own), before)
    assert torch.equal(features(backbone), before)


# What cannot be loaded


def saved(folder: Path, **tensors: Tensor | None) -> TimmOptions:
    """Save a tiny model with some tensors changed, or left out where None."""
    options = save_tiny(folder)
    state = {
        **load_file(options["checkpoint"]),
        **{k.replace("__", "."): t for k, t in tensors.items()},
    }
    save_file({k: t for k, t in state.items() if t is not None}, options["checkpoint"])
    return TimmOptions.model_validate(options)


def test_weights_that_are_missing_are_named_and_never_made_up(tmp_path: Path) -> None:
    options = saved(tmp_path, blocks__1__mlp__fc1__weight=None)

    with pytest.raises(CompositionError) as caught:
        build(options)

    assert f"model 'vit_tiny_patch16_224' cannot be loaded from {options.checkpoint}" in str(
        caught.value
    )
    assert "weights missing: 1, of another shape: 0, of another model: 0" in str(caught.value)
    assert "among them blocks.1.mlp.fc1.weight" in str(caught.value)


def test_weights_of_another_shape_or_model_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompositionError, match="of another shape: 1, of another model: 0"):
        build(saved(tmp_path, norm__weight=torch.ones(31)))
    with pytest.raises(CompositionError, match="of another shape: 0, of another model: 1"):
        build(saved(tmp_path, blocks__2__norm1__weight=torch.ones(32)))


def test_a_head_of_classes_in_the_file_is_not_read(tmp_path: Path) -> None:
    options = saved(tmp_path, head__weight=torch.ones(5, 32), head__bias=torch.ones(5))

    assert torch.equal(features(build(options)), features(make(tmp_path)))


def test_layer_scale_under_the_name_of_deits_files_is_read(tmp_path: Path) -> None:
    options = save_tiny(tmp_path, "layer-scale")
    state = load_file(options["checkpoint"])
    renamed = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): t for name, t in state.items()}
    assert renamed.keys() != state.keys()
    save_file(renamed, options["checkpoint"])

    found = features(build(TimmOptions.model_validate(options)))

    assert torch.equal(found, features(make(tmp_path / "again", "layer-scale")))


def test_a_file_that_is_damaged_is_an_error_that_names_it(tmp_path: Path) -> None:
    options = saved(tmp_path)
    assert options.checkpoint is not None
    options.checkpoint.write_bytes(options.checkpoint.read_bytes()[:-100])

    with pytest.raises(CompositionError, match=f"cannot be loaded from {options.checkpoint}"):
        build(options)


def test_half_precision_weights_of_a_file_become_the_recipes_format(tmp_path: Path) -> None:
    options = save_tiny(tmp_path)
    state = {name: tensor.half() for name, tensor in load_file(options["checkpoint"]).items()}
    save_file(state, options["checkpoint"])

    backbone = build(TimmOptions.model_validate(options))

    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    larger = build(TimmOptions.model_validate(options | {"image_size": 32}))
    resampled = timm.layers.resample_abs_pos_embed(
        state["pos_embed"].float(), new_size=(4, 4), num_prefix_tokens=1
    )
    assert torch.equal(larger.module.get_parameter("pos_embed"), resampled)


def test_a_model_without_weights_is_refused_unless_only_shapes_are_wanted(tmp_path: Path) -> None:
    options = save_tiny(tmp_path)
    del options["checkpoint"]
    nothing = TimmOptions.model_validate(options)

    assert all(p.is_meta for p in build(nothing, meta=True).parameters())
    with pytest.raises(CompositionError, match="random ones make no backbone; write `pretrained"):
        build(nothing)


def test_pretrained_weights_are_asked_of_the_hub_as_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = save_tiny(tmp_path, "layer-scale")
    asked: list[tuple[str, str]] = []

    def download(repository: str, filename: str) -> str:
        asked.append((repository, filename))
        return str(options["checkpoint"])

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    hub = {**options, "checkpoint": None, "pretrained": True}

    backbone = build(TimmOptions.model_validate(hub))

    assert asked == [("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")]
    assert torch.equal(features(backbone), features(make(tmp_path, "layer-scale")))


def test_offline_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(CompositionError, match=r"HF_HUB_OFFLINE is set.*write a `checkpoint`"):
        build(TimmOptions(model="vit_small_patch14_dinov2", pretrained=True))


def test_a_model_without_pretrained_weights_says_so() -> None:
    with pytest.raises(CompositionError, match="the hub has no weights of this name"):
        build(TimmOptions(model="vit_huge_patch14_224.untrained", pretrained=True))


def test_a_model_that_is_not_as_the_table_says_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mtlora_timm.options.variant_of",
        lambda name: mtlora_timm.variants.Variant(32, depth=2, mlp_ratio=1.5, gated=True),
    )

    with pytest.raises(CompositionError, match=r"q/k/v/o/up/down, and the table has.*gate/up"):
        make(tmp_path)


def test_nothing_is_said_while_loading_and_reading(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features(make(tmp_path, image_size=32))

    assert capfd.readouterr() == ("", "")
    assert not caplog.records
