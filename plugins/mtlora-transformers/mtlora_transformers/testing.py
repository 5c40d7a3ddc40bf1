"""Tiny models of transformers' own classes, with random weights and a tokenizer to match.

For tests: a model of each family takes milliseconds and no download.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from .families import FAMILIES
from .library import transformers
from .quiet import quiet

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", *ascii_lowercase)
"""The vocabulary: one word a letter."""

_ENCODER: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}
_DECODER: Mapping[str, Any] = {
    **_ENCODER,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_VISION: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
# Heads wider than the residual stream, and a window shorter than a text, as the real ones have.
_GEMMA: Mapping[str, Any] = {**_DECODER, "head_dim": 16, "sliding_window": 8}

TINY: Mapping[str, Mapping[str, Any]] = {
    "bert": _ENCODER,
    "deit": {**_VISION, "intermediate_size": 48},
    "dinov2": {**_VISION, "mlp_ratio": 2},
    "dinov2_with_registers": {**_VISION, "mlp_ratio": 2, "num_register_tokens": 3},
    "distilbert": {
        "dim": 32,
        "hidden_dim": 48,
        "n_layers": 2,
        "n_heads": 4,
        "max_position_embeddings": 40,
    },
    "gemma": {**_DECODER, "head_dim": 16},
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "gpt2": {
        "n_embd": 32,
        "n_inner": 48,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 40,
        "bos_token_id": 2,
        "eos_token_id": 2,
    },
    "gpt_neox": {**_ENCODER, "bos_token_id": 2, "eos_token_id": 2},
    "llama": _DECODER,
    "mistral": _DECODER,
    "qwen2": _DECODER,
    "qwen3": {**_DECODER, "head_dim": 16},
    "roberta": {**_ENCODER, "type_vocab_size": 1},
    "vit": {**_VISION, "intermediate_size": 48},
}
"""By family: two layers, 32 wide. ``gpt_neox`` is in no row of the family table."""


_SQUARE = {"height": 32, "width": 32}
PROCESSORS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "deit": ("DeiTImageProcessor", {"size": {"height": 36, "width": 36}, "crop_size": _SQUARE}),
    "dinov2": ("BitImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": _SQUARE}),
    "dinov2_with_registers": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 36}, "crop_size": _SQUARE},
    ),
    "vit": ("ViTImageProcessor", {"size": _SQUARE}),
}
"""The image processor of each family that reads pictures, and what it is made with."""


def families_reading(what: str) -> list[str]:
    """Return the families of the table that read ``text`` or ``image``."""
    return [
        name for name, family in FAMILIES.items() if (family.vision is None) == (what == "text")
    ]


def tiny_config(family: str, **changes: Any) -> Any:
    """Return the configuration of a tiny model; ``changes`` are keys of it."""
    # One more than there are: Qwen-2's tokenizer brings an end of its own.
    values = {"vocab_size": len(WORDS) + 1, **TINY[family], **changes}
    return transformers.AutoConfig.for_model(family, **values)


def save_tiny(folder: Path, family: str, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny model and its tokenizer or image processor into ``folder`` and return it.

    Decoders are written with their language-modelling head. Encoders have ``[CLS]`` and ``[SEP]``
    and know pairs; decoders have no special tokens but an end, and none for padding. No weight is
    0: that would hide what is added where.
    """
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        headless = "bert" in family or family in PROCESSORS
        kind: Any = transformers.AutoModel if headless else transformers.AutoModelForCausalLM
        model = kind.from_config(tiny_config(family, **changes))
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(folder)
        _reader(family).save_pretrained(folder)
    return folder


def save_tiny_gguf(folder: Path, seed: int = 0) -> Path:
    """Write the tiny LLaMA of :func:`save_tiny` as ``tiny.gguf``, with a chat template.

    It writes a letter as one token, and a space with the letter behind it as another. Needs the
    package ``gguf``.
    """
    import gguf

    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(tiny_config("llama", vocab_size=57))
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    file = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    _write_head(file, model.config)
    for name, weight in model.state_dict().items():
        file.add_tensor(_gguf_name(name), _gguf_weight(name, weight, model.config).numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return folder


def _write_head(file: Any, config: Any) -> None:
    letters = [*ascii_lowercase]
    file.add_block_count(config.num_hidden_layers)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_rope_dimension_count(config.head_dim)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_vocab_size(config.vocab_size)
    file.add_tokenizer_model("gpt2")
    spaced = [f"Ġ{letter}" for letter in letters]
    file.add_token_list(["<pad>", "<s>", "</s>", "<unk>", *letters, "Ġ", *spaced])
    file.add_token_types([3, 3, 3, 3, *[1] * (1 + 2 * len(letters))])  # 3: special
    file.add_token_merges([f"Ġ {letter}" for letter in letters])
    file.add_pad_token_id(0)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(3)
    file.add_add_bos_token(False)
    file.add_chat_template("{% for m in messages %}{{ m.content }}</s>{% endfor %}")


_GGUF_NAMES: Mapping[str, str] = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _gguf_name(name: str) -> str:
    for own, other in _GGUF_NAMES.items():
        name = name.replace(own, other)
    return name


def _gguf_weight(name: str, weight: Tensor, config: Any) -> Tensor:
    """Return a weight as llama.cpp keeps it: halves of rotated heads as pairs side by side."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = next((heads[key] for key in heads if key in name), None)
    if count is None:
        return weight
    halves: Tensor = weight.unflatten(0, (count, 2, -1))
    return halves.transpose(1, 2).reshape(weight.shape).contiguous()


def _reader(family: str) -> Any:
    if family not in PROCESSORS:
        return _tokenizer("bert" in family)
    name, values = PROCESSORS[family]
    return getattr(transformers, name)(**values)


def _tokenizer(encoder: bool) -> Any:
    words: Any = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    if not encoder:
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, unk_token="[UNK]", eos_token="[SEP]", model_max_length=40
        )
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=40,
    )
