"""The family table against the models of the installed transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from torch import Tensor, nn

from mtlora_core.errors import CompositionError
from mtlora_core.sites import BackboneShape, Layer, Projection
from mtlora_transformers.blocks import Blocks
from mtlora_transformers.build import build
from mtlora_transformers.description import describe, positions_of
from mtlora_transformers.families import FAMILIES
from mtlora_transformers.library import transformers
from mtlora_transformers.options import TransformersOptions
from mtlora_transformers.testing import families_reading, save_tiny, tiny_config
from mtlora_transformers.verification import verify

POST_NORM = {
    "bert": ("attention.output.LayerNorm", "output.LayerNorm"),
    "distilbert": ("sa_layer_norm", "output_layer_norm"),
    "roberta": ("attention.output.LayerNorm", "output.LayerNorm"),
}
"""Families that normalize the residual stream itself, behind each block."""

PREFIXES = {"gpt2": "transformer."}
"""What stands before the names in a language model, where it is not ``model.``."""

families = pytest.mark.parametrize("family", families_reading("text"))


def names_of(shape: BackboneShape) -> set[str]:
    blocks = [block for layer in shape.layers for block in (layer.attention, layer.ffn)]
    return {name for block in blocks for name in (block.reads, block.adds)}


def projections_of(shape: BackboneShape) -> list[Projection]:
    return [each for layer in shape.layers for each in layer.projections.values()]


def matrix(module: nn.Module) -> Tensor:
    """Return a projection's weight as ``[out, in]``; transformers' Conv1D keeps its transpose."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.T if type(module).__name__ == "Conv1D" else weight


@families
def test_the_configuration_file_says_what_the_built_model_says(family: str, tmp_path: Path) -> None:
    config = tiny_config(family)
    config.save_pretrained(tmp_path)

    shape = TransformersOptions(model=str(tmp_path)).shape()

    assert shape == TransformersOptions.shape_of(transformers.AutoModel.from_config(config))
    assert (shape.family, shape.width, len(shape.layers)) == (family, 32, 2)
    assert shape.causal == (family not in POST_NORM)


@families
def test_every_named_module_exists_and_is_as_wide_as_its_weight(family: str) -> None:
    config = tiny_config(family)
    model = transformers.AutoModel.from_config(config)

    shape = describe(config.to_dict())

    assert names_of(shape) <= dict(model.named_modules()).keys()
    for each in projections_of(shape):
        out, width = matrix(model.get_submodule(each.module)).shape
        assert each.d == width
        assert (each.start or 0) + each.o <= out
        assert each.start is not None or each.o == out


@families
def test_a_model_with_a_task_head_has_the_same_shape_behind_a_prefix(family: str) -> None:
    config = tiny_config(family)
    headed: Any = (
        transformers.AutoModelForSequenceClassification
        if family in POST_NORM
        else transformers.AutoModelForCausalLM
    )
    model = headed.from_config(config)

    shape = TransformersOptions.shape_of(model)

    prefix = f"{family}." if family in POST_NORM else PREFIXES.get(family, "model.")
    assert shape == describe(config.to_dict(), prefix=prefix)
    assert names_of(shape) <= dict(model.named_modules()).keys()


@families
def test_a_bare_configuration_has_the_defaults_of_the_family(family: str) -> None:
    full = transformers.AutoConfig.for_model(family)

    assert describe({"model_type": family}) == describe(full.to_dict())
    assert positions_of({"model_type": family}) == positions_of(full.to_dict())


@families
def test_what_the_blocks_add_is_what_the_residual_stream_gets(family: str, tmp_path: Path) -> None:
    model = transformers.AutoModel.from_pretrained(save_tiny(tmp_path, family))
    shape = TransformersOptions.shape_of(model)
    seen: dict[str, Tensor] = {}

    layer_path = f"{FAMILIES[family].layers}.1"
    watch(model, layer_path, seen)
    for name in names_of(shape):
        watch(model, name, seen)
    with torch.no_grad():
        model(torch.arange(4, 16)[None])

    block = shape.layers[1]
    residual = seen[f"{layer_path}:in"] + seen[f"{block.attention.adds}:out"]
    first, second = (norm(model, layer_path, family, i) for i in (0, 1))
    residual = second(first(residual) + seen[f"{block.ffn.adds}:out"])
    torch.testing.assert_close(seen[f"{layer_path}:out"], residual)


def watch(model: nn.Module, name: str, seen: dict[str, Tensor]) -> None:
    def record(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        given = (*args, *kwargs.values())
        seen[f"{name}:in"] = next(value for value in given if isinstance(value, Tensor))
        seen[f"{name}:out"] = output[0] if isinstance(output, tuple) else output

    model.get_submodule(name).register_forward_hook(record, with_kwargs=True)


def norm(model: nn.Module, layer: str, family: str, which: int) -> nn.Module:
    if family not in POST_NORM:
        return nn.Identity()
    return model.get_submodule(f"{layer}.{POST_NORM[family][which]}")


@families
def test_blocks_read_the_normalized_stream_where_the_norm_comes_first(
    family: str, tmp_path: Path
) -> None:
    model = transformers.AutoModel.from_pretrained(save_tiny(tmp_path, family))
    shape = TransformersOptions.shape_of(model)
    q, up = (shape.layers[1].projections[role].module for role in ("q", "up"))
    block = shape.layers[1]
    seen: dict[str, Tensor] = {}
    for name in {q, up} | names_of(shape):
        watch(model, name, seen)

    with torch.no_grad():
        model(torch.arange(4, 16)[None])

    torch.testing.assert_close(seen[f"{block.attention.reads}:in"], seen[f"{q}:in"])
    torch.testing.assert_close(seen[f"{block.ffn.reads}:in"], seen[f"{up}:in"])


def test_gpt2s_slices_are_the_query_the_key_and_the_value(tmp_path: Path) -> None:
    model = transformers.AutoModel.from_pretrained(save_tiny(tmp_path, "gpt2"))
    layer = TransformersOptions.shape_of(model).layers[0]
    ids = torch.arange(4, 16)[None]
    attention: Any = model.get_submodule(layer.attention.adds)
    seen: dict[str, Tensor] = {}
    watch(model, layer.attention.adds, seen)

    def without(role: str) -> Tensor:
        part = layer.projections[role]
        assert part.start is not None
        kept = attention.c_attn.weight.clone(), attention.c_attn.bias.clone()
        with torch.no_grad():
            attention.c_attn.weight[:, part.start : part.start + part.o] = 0
            attention.c_attn.bias[part.start : part.start + part.o] = 0
            model(ids)
            attention.c_attn.weight.copy_(kept[0])
            attention.c_attn.bias.copy_(kept[1])
        return seen[f"{layer.attention.adds}:out"]

    # Without values only the output's bias is left; without queries, or keys, attention is even.
    torch.testing.assert_close(without("v"), attention.c_proj.bias.expand(1, 12, 32))
    torch.testing.assert_close(without("q"), without("k"))
    assert not torch.allclose(without("q"), without("v"))


def test_the_shape_of_llama_2_7b_needs_nothing_but_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 32000}))

    backbone = build(TransformersOptions(model=str(tmp_path)), meta=True)

    # All of LLaMA-2-7B's 6,738,415,616 parameters but its task head, 32,000 rows of 4,096.
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == 6_738_415_616 - 32_000 * 4_096
    assert all(parameter.is_meta for parameter in backbone.parameters())


def test_grouped_keys_and_wide_heads_have_their_own_widths() -> None:
    layer = describe(
        {
            "model_type": "qwen3",
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
    ).layers[0]

    widths = {role: (each.d, each.o) for role, each in layer.projections.items()}
    assert widths["q"] == (32, 64)
    assert widths["k"] == widths["v"] == (32, 32)
    assert widths["o"] == (64, 32)


@pytest.mark.parametrize(
    ("config", "causal"),
    [
        ({"model_type": "bert", "is_decoder": True}, True),
        ({"model_type": "gemma", "use_bidirectional_attention": True}, False),
    ],
)
def test_a_family_may_be_configured_the_other_way_round(
    config: dict[str, Any], causal: bool
) -> None:
    assert describe(config).causal is causal


def test_gpt2_may_be_written_with_the_usual_names() -> None:
    usual = {"model_type": "gpt2", "hidden_size": 48, "num_hidden_layers": 3}

    assert describe(usual) == describe({"model_type": "gpt2", "n_embd": 48, "n_layer": 3})
    assert describe(usual).width == 48


@pytest.mark.parametrize("value", ["wide", 0, 2.5, True])
def test_a_width_that_is_no_number_is_named(value: object) -> None:
    with pytest.raises(CompositionError, match=f"'n_embd' must be a whole number .* {value!r}"):
        describe({"model_type": "gpt2", "n_embd": value})


def test_positions_of_roberta_leave_out_those_in_front_of_the_text() -> None:
    assert positions_of(tiny_config("roberta").to_dict()) == 40 - 2
    assert positions_of(tiny_config("bert").to_dict()) == 40


def test_an_unknown_family_is_shown_what_to_write(tmp_path: Path) -> None:
    tiny_config("gpt_neox").save_pretrained(tmp_path)

    with pytest.raises(CompositionError) as caught:
        TransformersOptions(model=str(tmp_path)).shape()

    (problem,) = caught.value.problems
    assert "model type 'gpt_neox' is not in the family table (bert, deit" in problem
    written = YAML(typ="safe").load(problem[problem.index("blocks: {") :])
    shape = TransformersOptions(model=str(tmp_path), **written).shape()
    assert (shape.width, len(shape.layers)) == (32, 2)


NEOX: dict[str, Any] = {
    "layers": "layers",
    "count": 2,
    "width": 32,
    "causal": True,
    "attention": {"reads": "attention", "adds": "post_attention_dropout"},
    "ffn": {"reads": "mlp"},
    "projections": {
        "o": {"module": "attention.dense", "d": 32, "o": 32},
        "up": {"module": "mlp.dense_h_to_4h", "d": 32, "o": 48},
        "q": {"module": "attention.query_key_value", "d": 32, "o": 32, "start": 0},
    },
}


def test_an_unknown_family_works_with_its_blocks_written(tmp_path: Path) -> None:
    options = TransformersOptions(
        model=str(save_tiny(tmp_path, "gpt_neox")), blocks=Blocks.model_validate(NEOX)
    )

    backbone = build(options)

    layer = options.shape().layers[1]
    assert isinstance(layer, Layer)
    assert layer.attention.adds == "layers.1.post_attention_dropout"
    assert layer.ffn.reads == layer.ffn.adds == "layers.1.mlp"
    assert layer.projections["q"] == Projection("layers.1.attention.query_key_value", 32, 32, 0)
    features = backbone.features(backbone.collate(backbone.encode(["a b c", "d"])))
    assert features.shape == (2, 32)


def test_blocks_that_the_model_does_not_have_are_all_reported(tmp_path: Path) -> None:
    wrong = NEOX | {
        "count": 1,
        "ffn": {"reads": "feed_forward"},
        "projections": {"o": {"module": "attention.dense", "d": 32, "o": 64}},
    }

    with pytest.raises(CompositionError) as caught:
        build(
            TransformersOptions(
                model=str(save_tiny(tmp_path, "gpt_neox")), blocks=Blocks.model_validate(wrong)
            )
        )

    missing, width = caught.value.problems
    assert "no module 'layers.0.feed_forward'" in missing
    assert "'layers.0.attention.dense' maps 32 to 32, but its description reads 32" in width


def test_a_release_that_renamed_a_module_is_an_error_and_not_a_misplacement() -> None:
    config = tiny_config("llama")
    model = transformers.AutoModel.from_config(config)
    model.layers[1].feed_forward = model.layers[1].mlp
    del model.layers[1].mlp

    with pytest.raises(CompositionError, match=r"no module 'layers.1.mlp' \(family 'llama', tran"):
        verify(model, describe(config.to_dict()))


def test_a_model_of_another_library_is_refused() -> None:
    with pytest.raises(CompositionError, match="Linear is no model of transformers"):
        TransformersOptions.shape_of(nn.Linear(2, 2))


def test_a_built_model_of_an_unknown_family_is_refused() -> None:
    model = transformers.AutoModel.from_config(tiny_config("gpt_neox"))

    with pytest.raises(CompositionError, match="model type 'gpt_neox' is not in the family table"):
        TransformersOptions.shape_of(model)


def test_two_text_models_in_one_are_refused() -> None:
    two = nn.ModuleList(transformers.AutoModel.from_config(tiny_config("llama")) for _ in range(2))

    with pytest.raises(CompositionError, match="one list of layers named 'layers', not 2"):
        TransformersOptions.shape_of(two)
