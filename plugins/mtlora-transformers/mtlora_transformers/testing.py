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
from torch import nn

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
# Heads wider than the residual stream, and a window shorter than a text, as the real ones have.
_GEMMA: Mapping[str, Any] = {**_DECODER, "head_dim": 16, "sliding_window": 8}

TINY: Mapping[str, Mapping[str, Any]] = {
    "bert": _ENCODER,
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
}
"""By family: two layers, 32 wide. ``gpt_neox`` is in no row of the family table."""


def tiny_config(family: str, **changes: Any) -> Any:
    """Return the configuration of a tiny model; ``changes`` are keys of it."""
    # One more than there are: Qwen-2's tokenizer brings an end of its own.
    values = {"vocab_size": len(WORDS) + 1, **TINY[family], **changes}
    return transformers.AutoConfig.for_model(family, **values)


def save_tiny(folder: Path, family: str, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny model and its tokenizer into ``folder`` and return it.

    Decoders are written with their language-modelling head. Encoders have ``[CLS]`` and ``[SEP]``
    and know pairs; decoders have no special tokens but an end, and none for padding. No weight is
    0: that would hide what is added where.
    """
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = "bert" in family
        kind: Any = transformers.AutoModel if encoder else transformers.AutoModelForCausalLM
        model = kind.from_config(tiny_config(family, **changes))
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(folder)
        _tokenizer(encoder).save_pretrained(folder)
    return folder


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
