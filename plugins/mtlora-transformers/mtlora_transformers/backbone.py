"""The ``transformers`` backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from mtlora_core.context import Contexts
from mtlora_core.errors import CompositionError
from mtlora_core.inputs import Input, Text, texts_of
from mtlora_core.interfaces import Backbone, Encoded, Inputs

from .loading import load_model, load_tokenizer
from .options import TransformersOptions
from .pooling import POOLINGS
from .verification import verify


class TransformersBackbone(Backbone):
    """A frozen model of Hugging Face transformers without its task head.

    Wolf et al., "Transformers: State-of-the-Art Natural Language Processing",
    https://arxiv.org/abs/1910.03771. Features are the pooled last hidden state; the pooler that
    BERT adds to it is not used.

    Args:
        options: Name the model and say how to read it.
        meta: Build it without weights on the meta device.

    Raises:
        CompositionError: the model cannot be loaded or is not as the family table says.
    """

    def __init__(self, options: TransformersOptions, *, meta: bool = False) -> None:
        super().__init__()
        shape = options.shape()
        self.options = options
        self.width = shape.width
        self.module = load_model(options, meta=meta)
        self.checkpointing = False
        self._pool = POOLINGS[options.pooling_for(shape.causal)]
        verify(self.module, shape)
        if not meta:
            _ = self.tokenizer  # a tokenizer that cannot be read is known now

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, loaded when first used."""
        return load_tokenizer(self.options)

    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        """Encode texts and pairs of texts, at most ``max_length`` tokens each.

        A pair is cut from its longer side. An empty text of a tokenizer without special tokens
        becomes one padding token, so that it has features too.
        """
        limit = min(max_length or self.options.max_length, self.options.max_length)
        texts = texts_of(inputs)
        rows = self._tokenize(texts)
        long = [i for i, row in enumerate(rows) if len(row["input_ids"]) > limit]
        cut = self._tokenize([texts[i] for i in long], truncation=True, max_length=limit)
        for i, row in zip(long, cut, strict=True):
            rows[i] = row
        truncated = set(long)
        return [Encoded(row, len(row["input_ids"]), i in truncated) for i, row in enumerate(rows)]

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad encodings on the right, where no position depends on them."""
        longest = max(row.length for row in rows)
        tensors = {
            name: torch.tensor(
                [_padded(row.features[name], longest, self._padding(name)) for row in rows]
            )
            for name in rows[0].features
        }
        lengths = torch.tensor([row.length for row in rows])
        return Inputs(tensors, torch.arange(longest) < lengths[:, None])

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the last hidden states ``[b, t, width]``."""
        output = self.module(**inputs.tensors, attention_mask=inputs.mask.long())
        hidden: Tensor = output.last_hidden_state
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the hidden state of each row that ``pooling`` names, in float32."""
        return self._pool(hidden.float(), mask)

    def checkpoint(self, context_fn: Callable[[], Contexts]) -> None:
        """Recompute each layer's activations in backward, non-re-entrant.

        transformers recomputes in train mode only, so the model stays in it from now on; with
        its dropout off that changes nothing else.
        """
        arguments = {"use_reentrant": False, "context_fn": context_fn}
        module: Any = self.module
        # Renamed in transformers 5; the old name warns there and goes in 6.
        enable = getattr(module, "activation_checkpointing_enable", None)
        try:
            (enable or module.gradient_checkpointing_enable)(arguments)
        except ValueError as error:
            raise CompositionError(f"model {self.options.model!r}: {error}") from error
        # transformers 5 also makes embeddings ask for gradients, for re-entrant checkpointing:
        # that would send them below the first adapter, by a hook that cannot be pickled.
        with suppress(AttributeError):  # transformers 4 does not, and cannot undo it either
            module.disable_input_require_grads()
        self.checkpointing = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a checkpointed model stays in train mode, see :meth:`checkpoint`."""
        super().train(mode)
        if self.checkpointing:
            self.module.train()
        return self

    def _tokenize(self, inputs: Sequence[Text], **options: Any) -> list[dict[str, list[int]]]:
        """Return token ids, and types where the model has them, of texts and pairs mixed."""
        rows: list[dict[str, list[int]]] = [{} for _ in inputs]
        for pairs in (False, True):
            chosen = [i for i, text in enumerate(inputs) if isinstance(text, tuple) == pairs]
            texts = [inputs[i] for i in chosen]
            for i, row in zip(chosen, self._rows(texts, pairs, options), strict=True):
                rows[i] = row
        return rows

    def _rows(
        self, texts: Sequence[Text], pairs: bool, options: dict[str, Any]
    ) -> Iterator[dict[str, list[int]]]:
        if not texts:
            return
        columns = zip(*texts, strict=True) if pairs else [texts]
        encoded = self.tokenizer(
            *map(list, columns),
            **options,
            return_attention_mask=False,
            return_token_type_ids=self._has_types,
            verbose=False,  # how long a text is before it is cut is no news
        )
        for values in zip(*encoded.values(), strict=True):
            row = dict(zip(encoded.keys(), values, strict=True))
            yield row if row["input_ids"] else {name: [self._padding(name)] for name in row}

    @property
    def _has_types(self) -> bool:
        # RoBERTa has a table of one type, which its tokenizer's second text would overrun.
        config: Any = self.module.config
        return getattr(config, "type_vocab_size", 0) > 1

    def _padding(self, name: str) -> int:
        if name != "input_ids":
            return 0
        ids = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((token for token in ids if token is not None), 0)


def _padded(values: list[int], length: int, padding: int) -> list[int]:
    return values + [padding] * (length - len(values))


def build(options: TransformersOptions, *, meta: bool = False) -> TransformersBackbone:
    """Return the backbone that ``options`` name.

    Raises:
        CompositionError: the model cannot be loaded or is not as the family table says.
    """
    return TransformersBackbone(options, meta=meta)
