"""From texts, pairs of texts and chats to token ids, and from those to a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlora_core.errors import DataError
from mtlora_core.inputs import Chat, Input, Text, texts_of
from mtlora_core.interfaces import Encoded, Inputs

from .loading import load_tokenizer, save_quietly
from .options import TransformersOptions

Row = dict[str, list[int]]
"""Token ids, and types where the model has them."""


class Texts:
    """Reads texts for one model.

    Args:
        options: Name the model, whose tokenizer is loaded when first used.
        types: Whether the model tells the two texts of a pair apart by types.
        chats: Whether it reads chats, by its tokenizer's template.
        keep_end: Whether a text that is too long loses its beginning rather than its end. Of a
            pair it is the longer side that loses, unless the end is kept.
    """

    skipped = 0
    """How many tokens stand before those of the text, and are left out of its mean."""

    def __init__(
        self, options: TransformersOptions, *, types: bool, chats: bool, keep_end: bool = False
    ) -> None:
        self.options = options
        self.types = types
        self.chats = chats
        self.keep_end = keep_end

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return load_tokenizer(self.options)

    def load(self) -> None:
        """Load the tokenizer, if that has not been done."""
        _ = self.tokenizer

    def save(self, folder: Path) -> None:
        """Write the tokenizer as ``from_pretrained`` reads it."""
        save_quietly(self.tokenizer, folder)

    def encode(self, inputs: Sequence[Input], max_length: int) -> list[Encoded]:
        """Encode inputs, at most ``max_length`` tokens each.

        An empty text of a tokenizer without special tokens becomes one padding token, so that it
        has features too.
        """
        texts = self._written(inputs)
        rows = self._tokenize(texts)
        long = [i for i, row in enumerate(rows) if len(row["input_ids"]) > max_length]
        for i, row in zip(long, self._cut(texts, rows, long, max_length), strict=True):
            rows[i] = row
        truncated = set(long)
        return [Encoded(row, len(row["input_ids"]), i in truncated) for i, row in enumerate(rows)]

    def collate(self, rows: Sequence[Encoded], *, left: bool = False) -> Inputs:
        """Pad encodings, on the right unless ``left``, and say what answers are to be said."""
        longest = max(row.length for row in rows)
        tensors = {
            name: torch.tensor(
                [_padded(row.features[name], longest, self._padding(name), left) for row in rows]
            )
            for name in rows[0].features
        }
        lengths = torch.tensor([row.length for row in rows])[:, None]
        places = torch.arange(longest)
        mask = places >= longest - lengths if left else places < lengths
        return Inputs(tensors, mask, _targets(rows, longest))

    def arguments(self, inputs: Inputs) -> Mapping[str, Any]:
        """Return what the model is called with."""
        return {**inputs.tensors, "attention_mask": inputs.mask.long()}

    def shortened(self, ids: list[int], length: int) -> list[int]:
        """Return ids without as much of their beginning as is over ``length``, but with its BOS."""
        if len(ids) <= length:
            return ids
        kept = 1 if ids[0] == self.tokenizer.bos_token_id and length > 1 else 0
        return ids[:kept] + ids[len(ids) - length + kept :]

    def said(self, answer: str) -> list[int]:
        """Return the tokens of an answer on its own, and the one that ends it."""
        ids: list[int] = self.tokenizer(answer, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return [*ids, self.tokenizer.eos_token_id]

    def _written(self, inputs: Sequence[Input]) -> list[Text | Chat]:
        if not self.chats:
            return [*texts_of(inputs)]
        return [each if isinstance(each, Chat) else texts_of([each])[0] for each in inputs]

    def _cut(
        self, texts: Sequence[Text | Chat], rows: Sequence[Row], long: Sequence[int], length: int
    ) -> list[Row]:
        """Return the rows of ``long`` with at most ``length`` tokens."""
        if self.keep_end:
            return [
                {name: self.shortened(ids, length) for name, ids in rows[i].items()} for i in long
            ]
        return self._tokenize([texts[i] for i in long], truncation=True, max_length=length)

    def _tokenize(self, texts: Sequence[Text | Chat], **options: Any) -> list[Row]:
        """Return the tokens of texts, pairs and chats mixed."""
        rows: list[Row] = [{} for _ in texts]
        for kind in (str, tuple, Chat):
            chosen = [i for i, text in enumerate(texts) if isinstance(text, kind)]
            some: list[Any] = [texts[i] for i in chosen]
            for i, row in zip(chosen, self._rows(some, kind, options), strict=True):
                rows[i] = row
        return rows

    def _rows(self, texts: Sequence[Any], kind: type, options: Mapping[str, Any]) -> Iterator[Row]:
        if not texts:
            return
        columns: Sequence[Any] = [texts]
        if kind is tuple:
            columns = [*zip(*texts, strict=True)]
        elif kind is Chat:
            # The template writes the special tokens itself.
            columns = [[self._spoken(chat) for chat in texts]]
            options = {**options, "add_special_tokens": False}
        encoded = self.tokenizer(
            *map(list, columns),
            **options,
            return_attention_mask=False,
            return_token_type_ids=self.types,
            verbose=False,  # how long a text is before it is cut is no news
        )
        for values in zip(*encoded.values(), strict=True):
            row = dict(zip(encoded.keys(), values, strict=True))
            yield row if row["input_ids"] else {name: [self._padding(name)] for name in row}

    def _spoken(self, chat: Chat) -> str:
        """Return a chat as the model's template writes it, up to where the model is to go on."""
        if not self.tokenizer.chat_template:
            raise DataError(
                f"an example is a chat, and the tokenizer of model {self.options.model!r} has no "
                "chat template; take a model that was tuned to chat, or write the task with a "
                "`template`"
            )
        messages = [{"role": role, "content": content} for role, content in chat.messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template is a program of the model's, and refuses as it will
            roles = ", ".join(role for role, _ in chat.messages)
            raise DataError(
                f"the chat template of model {self.options.model!r} refuses a chat of the roles "
                f"{roles}: {error}"
            ) from error
        return text

    def _padding(self, name: str) -> int:
        if name != "input_ids":
            return 0
        ids = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((token for token in ids if token is not None), 0)


def _padded(values: list[int], length: int, padding: int, left: bool) -> list[int]:
    missing = [padding] * (length - len(values))
    return missing + values if left else values + missing


def _targets(rows: Sequence[Encoded], length: int) -> Tensor | None:
    """Return what each position is to say next; rows are padded on the right."""
    if not any(row.targets for row in rows):
        return None
    targets = torch.full((len(rows), length), -100)
    for target, row in zip(targets, rows, strict=True):
        if row.targets:
            first = row.length - row.targets
            said = row.features["input_ids"][first:]
            target[first - 1 : row.length - 1] = torch.tensor(said)
    return targets
