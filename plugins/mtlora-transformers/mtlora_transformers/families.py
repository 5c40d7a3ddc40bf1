"""The family table: where models of transformers keep their blocks, and how wide they are.

One row a family, keyed by the ``model_type`` of its configuration. Names are relative to a
layer. Tested with transformers 4.57 and 5.23; a family whose modules were renamed in between has
a row for each, and the built model is checked against its row, so another release that renames
modules is an error and not a silent misplacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

from mtlora_core.sites import Block

Width = Literal["residual", "heads", "keys", "inner"]
"""The residual stream; all query heads; all key heads; the FFN's inside."""


@dataclass(frozen=True)
class Linear:
    """A projection of a row, with symbolic widths."""

    module: str
    d: Width = "residual"
    o: Width = "residual"
    part: int | None = None
    """Which of the equal parts of a fused output is this projection's."""


@dataclass(frozen=True)
class Family:
    """One row."""

    layers: str
    """Path of the list of layers in the base model, the one without a task head."""
    causal: bool
    attention: Block
    ffn: Block
    projections: Mapping[str, Linear]
    names: Mapping[str, str] = field(default_factory=dict)
    """What the configuration calls ``hidden_size`` and so on, where it has names of its own."""
    defaults: Mapping[str, int | None] = field(default_factory=dict)
    """Values of keys that ``config.json`` may leave out, as the family's class has them."""
    reserved_positions: bool = False
    """Whether positions are counted from behind the padding token's id, as RoBERTa does."""
    vision: Vision | None = None
    """How pictures become tokens, of a family that reads them."""


@dataclass(frozen=True)
class Vision:
    """How a family of vision transformers makes tokens of a picture."""

    before: int = 1
    """Tokens that stand before the picture's: the class's, and those beside it."""
    asked_to_interpolate: bool = True
    """Whether a forward is told to fit its positions to the picture; otherwise it always does."""


def _decoder(
    attention: Block | None = None, ffn: Block | None = None, **defaults: int | None
) -> Family:
    """Return a row of the LLaMA kind; blocks that differ and defaults are given."""
    return Family(
        layers="layers",
        causal=True,
        attention=attention or Block("self_attn", "self_attn"),
        ffn=ffn or Block("mlp", "mlp"),
        projections={
            "q": Linear("self_attn.q_proj", o="heads"),
            "k": Linear("self_attn.k_proj", o="keys"),
            "v": Linear("self_attn.v_proj", o="keys"),
            "o": Linear("self_attn.o_proj", d="heads"),
            "gate": Linear("mlp.gate_proj", o="inner"),
            "up": Linear("mlp.up_proj", o="inner"),
            "down": Linear("mlp.down_proj", d="inner"),
        },
        defaults=defaults,
    )


def _post_norm_decoder(**defaults: int | None) -> Family:
    """Return a row of the Gemma-2 kind: a norm stands between each block and the residual."""
    return _decoder(
        attention=Block("self_attn", "post_attention_layernorm"),
        ffn=Block("mlp", "post_feedforward_layernorm"),
        **defaults,
    )


def _encoder(reserved_positions: bool = False) -> Family:
    """Return a row of the BERT kind.

    Its output modules also add the residual and normalize, so what a block adds to the residual
    stream is the output of their dropout.
    """
    return Family(
        layers="encoder.layer",
        causal=False,
        attention=Block("attention", "attention.output.dropout"),
        ffn=Block("intermediate", "output.dropout"),
        projections={
            "q": Linear("attention.self.query"),
            "k": Linear("attention.self.key"),
            "v": Linear("attention.self.value"),
            "o": Linear("attention.output.dense"),
            "up": Linear("intermediate.dense", o="inner"),
            "down": Linear("output.dense", d="inner"),
        },
        defaults={
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
            "pad_token_id": 1 if reserved_positions else 0,
        },
        reserved_positions=reserved_positions,
    )


_DISTILBERT = Family(
    layers="transformer.layer",
    causal=False,
    attention=Block("attention", "attention"),
    ffn=Block("ffn", "ffn"),
    projections={
        "q": Linear("attention.q_lin"),
        "k": Linear("attention.k_lin"),
        "v": Linear("attention.v_lin"),
        "o": Linear("attention.out_lin"),
        "up": Linear("ffn.lin1", o="inner"),
        "down": Linear("ffn.lin2", d="inner"),
    },
    names={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    },
    defaults={
        "hidden_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
    },
)

_GPT2 = Family(
    layers="h",
    causal=True,
    attention=Block("attn", "attn"),
    ffn=Block("mlp", "mlp"),
    projections={
        "q": Linear("attn.c_attn", part=0),
        "k": Linear("attn.c_attn", part=1),
        "v": Linear("attn.c_attn", part=2),
        "o": Linear("attn.c_proj"),
        "up": Linear("mlp.c_fc", o="inner"),
        "down": Linear("mlp.c_proj", d="inner"),
    },
    names={
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
    },
    defaults={
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 1024,
    },
)

_VIT_DEFAULTS: Mapping[str, int | None] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
}
_DINO_DEFAULTS = {**_VIT_DEFAULTS, "intermediate_size": None}


_SEPARATE: Mapping[str, Linear] = {
    "q": Linear("attention.q_proj"),
    "k": Linear("attention.k_proj"),
    "v": Linear("attention.v_proj"),
    "o": Linear("attention.o_proj"),
}
_NESTED: Mapping[str, Linear] = {
    "q": Linear("attention.attention.query"),
    "k": Linear("attention.attention.key"),
    "v": Linear("attention.attention.value"),
    "o": Linear("attention.output.dense"),
}
_MLP: Mapping[str, Linear] = {
    "up": Linear("mlp.fc1", o="inner"),
    "down": Linear("mlp.fc2", d="inner"),
}


def _vit(vision: Vision) -> dict[str, Family]:
    """Return the rows of the ViT kind, by the release that each is true from."""
    renamed = Family(
        layers="layers",
        causal=False,
        attention=Block("attention", "attention"),
        ffn=Block("mlp", "mlp"),
        projections={**_SEPARATE, **_MLP},
        defaults=_VIT_DEFAULTS,
        vision=vision,
    )
    before = Family(
        layers="encoder.layer",
        causal=False,
        attention=Block("attention", "attention"),
        ffn=Block("intermediate", "output.dropout"),  # its output module also adds the residual
        projections={
            **_NESTED,
            "up": Linear("intermediate.dense", o="inner"),
            "down": Linear("output.dense", d="inner"),
        },
        defaults=_VIT_DEFAULTS,
        vision=vision,
    )
    return {"5.9": renamed, "0": before}


def _dinov2() -> dict[str, Family]:
    """Return the rows of the DINOv2 kind, whose blocks end behind their LayerScale."""

    def row(projections: Mapping[str, Linear]) -> Family:
        return Family(
            layers="encoder.layer",
            causal=False,
            attention=Block("attention", "layer_scale1"),
            ffn=Block("mlp", "layer_scale2"),
            projections={**projections, **_MLP},
            defaults=_DINO_DEFAULTS,
            vision=Vision(asked_to_interpolate=False),
        )

    return {"5.18": row(_SEPARATE), "0": row(_NESTED)}


def row_of(rows: Mapping[str, Family], release: str) -> Family:
    """Return the row that is true of a release; rows are named after those they begin with."""
    return rows[max((first for first in rows if _order(first) <= _order(release)), key=_order)]


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:2] if part.isdecimal())


RENAMED: Mapping[str, Mapping[str, Family]] = {
    "deit": _vit(Vision(before=2)),
    "dinov2": _dinov2(),
    "dinov2_with_registers": _dinov2(),
    "vit": _vit(Vision()),
}
"""Families whose modules have been renamed, with a row for each name: by the first release."""

_STEADY: Mapping[str, Family] = {
    "bert": _encoder(),
    "distilbert": _DISTILBERT,
    "gemma": _decoder(
        hidden_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=16,
        head_dim=256,
        intermediate_size=24576,
        max_position_embeddings=8192,
    ),
    "gemma2": _post_norm_decoder(
        hidden_size=2304,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        intermediate_size=9216,
        max_position_embeddings=8192,
    ),
    "gemma3_text": _post_norm_decoder(
        hidden_size=2304,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        intermediate_size=9216,
        max_position_embeddings=131072,
    ),
    "gpt2": _GPT2,
    "llama": _decoder(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        intermediate_size=11008,
        max_position_embeddings=2048,
    ),
    "mistral": _decoder(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        max_position_embeddings=131072,
    ),
    "qwen2": _decoder(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        intermediate_size=22016,
        max_position_embeddings=32768,
    ),
    "qwen3": _decoder(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        head_dim=128,
        intermediate_size=22016,
        max_position_embeddings=32768,
    ),
    "roberta": _encoder(reserved_positions=True),
}

FAMILIES: Mapping[str, Family] = dict(
    sorted(
        {
            **_STEADY,
            **{name: row_of(rows, version("transformers")) for name, rows in RENAMED.items()},
        }.items()
    )
)
"""By the ``model_type`` of a configuration, as the installed release names their modules."""
