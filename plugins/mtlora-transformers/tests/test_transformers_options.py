"""Each option changes something, and a model is found where the recipe says it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from pydantic import ValidationError

import mtlora_transformers
from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Inputs
from mtlora_core.options import RecipeText
from mtlora_core.reference import describe
from mtlora_transformers.backbone import TransformersBackbone
from mtlora_transformers.build import build
from mtlora_transformers.loading import load_config
from mtlora_transformers.options import TransformersOptions
from mtlora_transformers.testing import save_tiny

COMMIT = "0" * 39
TEXTS = ["a b c d", "e f"]


def make(folder: Path | str, **changes: Any) -> TransformersBackbone:
    return build(TransformersOptions(model=str(folder), **changes))


def features(backbone: TransformersBackbone) -> torch.Tensor:
    pooled: torch.Tensor = backbone.features(inputs(backbone))
    return pooled


def inputs(backbone: TransformersBackbone) -> Inputs:
    return backbone.collate(backbone.encode(TEXTS))


def problems(folder: Path, **changes: Any) -> list[tuple[str, str]]:
    options = TransformersOptions(model=str(folder), **changes)
    return list(options.problems(options.shape(), ()))


def cached(cache: Path, revision: str, **changes: Any) -> None:
    """Put a tiny model ``us/tiny`` into a cache of the hub, at ``revision``."""
    repository = cache / "models--us--tiny"
    commit = f"{COMMIT}{changes.get('seed', 0)}"
    save_tiny(repository / "snapshots" / commit, "bert", **changes)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / revision).write_text(commit)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no way to the hub itself."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    # transformers 4 keeps a copy of the name.
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(folder), raising=False)
    return folder


def test_the_option_model_chooses_the_model(tmp_path: Path) -> None:
    one = make(save_tiny(tmp_path / "one", "bert", seed=1))
    two = make(save_tiny(tmp_path / "two", "bert", seed=2))

    assert not torch.allclose(features(one), features(two))


def test_a_folder_is_relative_to_the_file_of_the_recipe(tmp_path: Path) -> None:
    save_tiny(tmp_path / "models" / "tiny", "bert")

    for written in ("models/tiny", "./models/tiny"):
        options = TransformersOptions(model=RecipeText(written, tmp_path))
        assert options.model == str(tmp_path / "models" / "tiny")
        assert options.shape().family == "bert"


def test_a_folder_is_absolute_once_read_so_that_a_saved_recipe_still_finds_it(
    tmp_path: Path,
) -> None:
    save_tiny(tmp_path / "tiny", "bert")
    read = TransformersOptions(model=RecipeText("tiny", tmp_path))

    again = TransformersOptions(model=RecipeText(read.model, tmp_path / "elsewhere"))

    assert again == read
    assert type(read.model) is str


def test_a_folder_here_is_never_taken_for_a_model_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(tmp_path / "tiny", "bert")
    monkeypatch.chdir(tmp_path)
    options = TransformersOptions(model=RecipeText("tiny", tmp_path / "elsewhere"))

    with pytest.raises(CompositionError, match=r"one of the hub, and .* write its path, /.*tiny"):
        load_config(options)


def test_a_model_may_be_a_folder_of_an_installed_package_which_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(tmp_path / "some_package" / "model", "bert")
    (tmp_path / "some_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    options = TransformersOptions(model=RecipeText("package:some_package/model", tmp_path))

    assert options.model == "package:some_package/model"
    assert features(build(options)).shape == (2, 32)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("package:no_such_package/model", "'no_such_package' is not installed here; install"),
        ("package:json.decoder/model", "'json.decoder' is no top-level package; write package:"),
        ("package:json/model", "there is no folder .*json/model"),
        ("./nowhere", "there is no folder .*nowhere"),
    ],
)
def test_a_model_that_is_nowhere_is_said_where_it_was_looked_for(
    model: str, message: str, tmp_path: Path
) -> None:
    options = TransformersOptions(model=RecipeText(model, tmp_path))

    with pytest.raises(CompositionError, match=message):
        options.shape()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no config.json; a model's folder holds"),
        ("{", "config.json cannot be read as JSON: Expecting"),
        ("[]", "config.json must be a JSON object, not a list"),
        ("{}", "model type 'None' is not in the family table"),
        ('{"model_type": "bert", "hidden_size": "wide"}', "'hidden_size' must be a whole number"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(
    text: str | None, message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    with pytest.raises(CompositionError, match=f"model '{tmp_path}': .*{message}"):
        TransformersOptions(model=str(tmp_path)).shape()


def test_a_configuration_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\x00\x80")

    with pytest.raises(CompositionError, match="cannot be read as JSON"):
        TransformersOptions(model=str(tmp_path)).shape()


def test_a_model_of_the_hub_is_taken_from_the_local_cache(cache: Path) -> None:
    cached(cache, "main")

    options = TransformersOptions(model="us/tiny")

    assert options.shape().family == "bert"
    assert options.model == "us/tiny"


def test_a_model_of_the_hub_that_is_not_cached_is_said_where_it_was_looked_for(
    cache: Path,
) -> None:
    with pytest.raises(CompositionError) as caught:
        TransformersOptions(model="us/tiny", revision="v9").shape()

    (problem,) = caught.value.problems
    assert "model 'us/tiny': config.json of revision 'v9' is neither in the cache" in problem
    assert str(cache) in problem
    assert "(HF_HUB_OFFLINE is set)" in problem


def test_a_name_that_the_hub_cannot_have_is_refused(cache: Path) -> None:
    with pytest.raises(CompositionError, match="no such folder beside the recipe"):
        TransformersOptions(model="a/b/c d").shape()


def test_the_option_revision_chooses_among_a_models_versions(cache: Path) -> None:
    cached(cache, "main", seed=1)
    cached(cache, "narrow", seed=2, hidden_size=16)

    widths = [
        TransformersOptions(model="us/tiny", revision=revision).shape().width
        for revision in (None, "main", "narrow")
    ]

    assert widths == [32, 32, 16]


def test_the_option_revision_chooses_the_weights_too(cache: Path) -> None:
    cached(cache, "main", seed=1)
    cached(cache, "other", seed=2)

    default, main, other = (
        features(make("us/tiny", revision=revision)) for revision in (None, "main", "other")
    )

    assert torch.equal(default, main)
    assert not torch.allclose(main, other)


def test_a_revision_of_a_folder_is_a_problem(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")

    ((option, reason),) = problems(folder, max_length=40, revision="main")

    assert option == "revision"
    assert "is a folder and has no revisions" in reason


def test_the_option_max_length_cuts_texts(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")

    lengths = [make(folder, max_length=n).encode(["a b c d e f"])[0].length for n in (4, 6, 30)]

    assert lengths == [4, 6, 8]


@pytest.mark.parametrize(("family", "positions"), [("bert", 40), ("roberta", 38), ("llama", 40)])
def test_max_length_must_not_exceed_the_models_positions(
    family: str, positions: int, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path, family)

    assert problems(folder, max_length=positions) == []
    ((option, reason),) = problems(folder, max_length=positions + 1)
    assert option == "max_length"
    assert f"positions for {positions} tokens, not {positions + 1}" in reason


def test_a_text_of_all_the_positions_of_roberta_has_features(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "roberta"), max_length=38)

    rows = backbone.encode(["a " * 60])

    assert rows[0].length == 38
    assert backbone.features(backbone.collate(rows)).isfinite().all()


def test_the_option_pooling_chooses_the_token(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")
    plain = make(folder)
    batch = inputs(plain)

    hidden = plain.module(**batch.tensors, attention_mask=batch.mask.long()).last_hidden_state

    expected = {
        "mean": torch.stack([hidden[0].mean(0), hidden[1, :4].mean(0)]),
        "cls": hidden[:, 0],
        "last": torch.stack([hidden[0, 5], hidden[1, 3]]),
    }
    for pooling, rows in expected.items():
        torch.testing.assert_close(make(folder, pooling=pooling).features(batch), rows)


@pytest.mark.parametrize(("family", "usual"), [("bert", "mean"), ("gpt2", "last")])
def test_pooling_is_the_usual_one_of_the_models_kind(
    family: str, usual: str, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path, family)

    left_out, written = make(folder), make(folder, pooling=usual)

    assert torch.equal(features(left_out), features(written))


def test_the_first_token_of_a_causal_model_is_a_problem(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "gpt2")

    ((option, reason),) = problems(folder, max_length=40, pooling="cls")

    assert option == "pooling"
    assert "write last or mean" in reason


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_option_dtype_is_that_of_the_weights_and_not_of_the_features(
    dtype: str, tmp_path: Path
) -> None:
    backbone = make(save_tiny(tmp_path, "bert"), dtype=dtype)

    assert {p.dtype for p in backbone.parameters()} == {getattr(torch, dtype)}
    assert features(backbone).dtype == torch.float32


def test_a_model_saved_in_half_precision_is_float32_by_default(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")
    make(folder, dtype="bfloat16").module.save_pretrained(folder)  # type: ignore[operator]

    assert {p.dtype for p in make(folder).parameters()} == {torch.float32}


def test_the_option_trust_remote_code_decides_whether_the_models_own_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(tmp_path / "model", "bert")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (folder / "config.json").write_text(
        json.dumps(config | {"model_type": "own-bert", "auto_map": own})
    )
    (folder / "own.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own-bert'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n    ran = True\n"
    )
    # transformers copies such code to a place of its own and imports it from there.
    modules = tmp_path / "modules"
    for name in ("dynamic_module_utils", "utils.hub", "utils"):
        monkeypatch.setattr(f"transformers.{name}.HF_MODULES_CACHE", str(modules), raising=False)
    blocks = {
        "layers": "encoder.layer",
        "count": 2,
        "width": 32,
        "causal": False,
        "attention": {"reads": "attention", "adds": "attention.output.dropout"},
        "ffn": {"reads": "intermediate", "adds": "output.dropout"},
    }

    with pytest.raises(CompositionError, match=r"custom code .*trust_remote_code=True"):
        make(folder, blocks=blocks)
    trusted = make(folder, blocks=blocks, trust_remote_code=True)

    assert getattr(trusted.module, "ran", False)


def test_the_option_blocks_says_where_the_sites_are(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")
    written = {
        "layers": "encoder.layer",
        "count": 1,
        "width": 32,
        "causal": False,
        "attention": {"reads": "attention.self"},
        "ffn": {"reads": "intermediate", "adds": "output.dense"},
    }

    shape = TransformersOptions.model_validate({"model": str(folder), "blocks": written}).shape()

    assert [layer.ffn.adds for layer in shape.layers] == ["encoder.layer.0.output.dense"]
    assert shape != TransformersOptions(model=str(folder)).shape()


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""},
        {"model": 3},
        {"max_length": 0},
        {"pooling": "max"},
        {"dtype": "int8"},
        {"blocks": {"layers": "layers"}},
        {"modle": "x"},
    ],
)
def test_values_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TransformersOptions.model_validate({"model": "us/tiny", **wrong})


def test_every_option_has_its_help() -> None:
    assert all(text for _, _, text in describe(TransformersOptions).values())


def test_describing_a_model_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")
    program = (
        "import sys\n"
        "from mtlora_transformers.options import TransformersOptions\n"
        f"options = TransformersOptions(model={str(folder)!r})\n"
        "list(options.problems(options.shape(), ()))\n"
        "sys.exit(str({'torch', 'transformers', 'huggingface_hub'} & {*sys.modules} or ''))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stderr.strip() == ""


def test_the_door_imports_neither_torch_nor_pydantic() -> None:
    program = (
        "import sys, mtlora_transformers\n"
        "mtlora_transformers.mtlora_components()\n"
        "sys.exit(str({'torch', 'pydantic', 'transformers'} & {*sys.modules} or ''))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stderr.strip() == ""


def test_the_door_describes_the_backbone() -> None:
    (component,) = mtlora_transformers.mtlora_components()

    assert (component.kind, component.name) == ("backbone", "transformers")
