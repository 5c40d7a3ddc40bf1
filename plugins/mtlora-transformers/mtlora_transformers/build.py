"""Builds the ``transformers`` backbone that options name."""

from __future__ import annotations

from typing import Any

from .backbone import TransformersBackbone
from .encoding import Texts
from .images import Pictures
from .language import TransformersLanguageModel
from .loading import load_config, load_model
from .options import TransformersOptions


def build(
    options: TransformersOptions, *, meta: bool = False, language: bool = False
) -> TransformersBackbone:
    """Return the backbone that ``options`` name.

    Args:
        options: Name the model and say how to read it.
        meta: Build it without weights on the meta device.
        language: Build a causal model with its output head, as a
            :class:`~mtlora_core.interfaces.LanguageModel`.

    Raises:
        CompositionError: the model cannot be loaded or is not as the family table says.
    """
    config = load_config(options)
    model = load_model(options, config, meta=meta, language=language)
    grid = options.grid()
    reader = _texts(options, model, language) if grid is None else Pictures(options, grid)
    if not meta:
        reader.load()  # what cannot be read is known now
    if language and isinstance(reader, Texts):
        return TransformersLanguageModel(options, model, reader, config, check=not meta)
    return TransformersBackbone(options, model, reader, config)


def _texts(options: TransformersOptions, model: Any, language: bool) -> Texts:
    return Texts(
        options,
        # RoBERTa has a table of one type, which its tokenizer's second text would overrun.
        types=getattr(model.config, "type_vocab_size", 0) > 1,
        chats=options.shape().causal,
        keep_end=language,
    )
