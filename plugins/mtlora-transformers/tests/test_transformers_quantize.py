"""The option ``quantize``: passed to the library, and what cannot go with it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtlora_transformers import loading
from mtlora_transformers import options as options_module
from mtlora_transformers.build import build
from mtlora_transformers.library import transformers
from mtlora_transformers.options import TransformersOptions
from mtlora_transformers.testing import save_tiny, tiny_config


class Asked(Exception):
    """Stops where the library would load bitsandbytes."""


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the library's class of settings was made with."""
    made: list[Any] = []

    def settings(**values: Any) -> Any:
        made.append(values)
        return "settings"

    monkeypatch.setattr(transformers, "BitsAndBytesConfig", settings)
    return made


def options_of(folder: Path, **changes: Any) -> TransformersOptions:
    return TransformersOptions(model=str(folder), max_length=30, **changes)


def problems(folder: Path, **changes: Any) -> list[tuple[str, str]]:
    options = options_of(folder, **changes)
    return list(options.problems(options.shape(), ()))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"quantize": "8bit"}, {"load_in_8bit": True}),
        (
            {"quantize": "4bit", "dtype": "bfloat16"},
            {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_compute_dtype": torch.bfloat16,
            },
        ),
    ],
)
@pytest.mark.parametrize("language", [False, True])
def test_the_option_is_passed_on_to_the_library(
    written: Any,
    expected: Any,
    language: bool,
    configs: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = transformers.AutoModelForCausalLM if language else transformers.AutoModel
    given: dict[str, Any] = {}

    def from_pretrained(*args: Any, **values: Any) -> Any:
        given.update(values)
        raise Asked

    monkeypatch.setattr(kind, "from_pretrained", from_pretrained)
    options = options_of(save_tiny(tmp_path, "llama"), **written)

    with pytest.raises(Exception, match="Asked"):
        build(options, language=language)

    assert configs == [expected]
    assert given["quantization_config"] == "settings"


def test_nothing_is_passed_on_where_it_is_left_out(configs: list[Any], tmp_path: Path) -> None:
    assert loading._quantized(options_of(save_tiny(tmp_path, "llama"))) == {}
    assert configs == []


def test_the_settings_are_those_that_the_library_knows(tmp_path: Path) -> None:
    quantized = loading._quantized(options_of(save_tiny(tmp_path, "llama"), quantize="8bit"))

    assert quantized["quantization_config"].load_in_8bit


def install(monkeypatch: pytest.MonkeyPatch, release: str | None) -> None:
    """Make it seem that a release of bitsandbytes is installed, or none."""

    def version(name: str) -> str:
        if release is None:
            raise PackageNotFoundError(name)
        return release

    monkeypatch.setattr(options_module, "version", version)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_missing_package_is_told_by_the_check(
    bits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(tmp_path, "llama")
    install(monkeypatch, None)

    assert problems(folder, quantize=bits) == [
        (
            "quantize",
            f"{bits} weights need a package that is not installed: pip install "
            "'bitsandbytes>=0.48', or leave quantize out",
        )
    ]


@pytest.mark.parametrize("release", ["0.46.1", "0.47.0"])
def test_a_release_that_corrupts_8_bit_weights_on_their_way_is_told_by_the_check(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(tmp_path, "llama")
    install(monkeypatch, release)

    ((place, fault),) = problems(folder, quantize="8bit")
    assert place == "quantize"
    assert f"bitsandbytes {release} quantizes 8-bit weights again" in fault
    assert "'bitsandbytes>=0.48'" in fault
    assert problems(folder, quantize="4bit") == []


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.parametrize("release", ["0.48.0", "0.50.2", "1.0.0.dev0"])
def test_a_package_that_is_there_is_no_problem(
    release: str, bits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, release)

    assert problems(save_tiny(tmp_path, "llama"), quantize=bits) == []


def test_a_shape_says_whether_weights_are_packed(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "llama")

    assert options_of(folder, quantize="4bit").shape().packed
    assert not options_of(folder).shape().packed


def test_a_built_model_with_whole_numbers_for_weights_is_packed() -> None:
    model = transformers.AutoModel.from_config(tiny_config("llama"))
    assert not TransformersOptions.shape_of(model).packed

    up = model.layers[0].mlp.up_proj
    up.weight = nn.Parameter(up.weight.detach().to(torch.int8), requires_grad=False)

    assert TransformersOptions.shape_of(model).packed
