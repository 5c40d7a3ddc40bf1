"""Greedy generation by transformers' own loop, with its cache of keys and values."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Inputs

from .encoding import Texts
from .library import transformers

MOST_BYTES = 4
"""Of a character in UTF-8."""
UNREADABLE = "\ufffd"
"""What a tokenizer writes for bytes that are no character."""


class Writer:
    """Writes what a causal model says next.

    Args:
        causal: The model with its head.
        reader: Its tokenizer's.
        positions: How many tokens it has positions for; None: unknown.
    """

    def __init__(self, causal: Any, reader: Texts, positions: int | None) -> None:
        self.causal = causal
        self.reader = reader
        self.positions = positions
        self.ends = sorted(_ends(causal))
        # What its file says of sampling, of repetition and the like would be filled in where a
        # call is silent, and greedy means greedy.
        causal.generation_config = transformers.GenerationConfig(eos_token_id=self.ends or None)

    @torch.no_grad()
    def write(self, inputs: Inputs, max_new_tokens: int, stop: Sequence[str]) -> list[str]:
        """Return the text that follows each prompt, the first of the ``stop`` strings left out.

        Raises:
            CompositionError: the model has not the positions for so many new tokens.
        """
        ids, mask = self._fitting(inputs, max_new_tokens)
        ends = sorted({*self.ends, self.reader.tokenizer.eos_token_id})
        tokens = self.causal.generate(
            ids,
            attention_mask=mask.long(),
            generation_config=transformers.GenerationConfig(
                do_sample=False,
                max_new_tokens=max_new_tokens,
                eos_token_id=ends,
                pad_token_id=ends[0],  # behind the end of a row, where nothing is read
                use_cache=True,
            ),
            stopping_criteria=transformers.StoppingCriteriaList(
                [_Stop(self, ids.shape[1], stop)] if stop else []
            ),
        )
        rows = tokens[:, ids.shape[1] :].tolist()
        return [_before(self.decoded(_until(row, ends)), stop) for row in rows]

    def decoded(self, ids: list[int]) -> str:
        """Return the text of new tokens, without special ones."""
        return str(
            self.reader.tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _fitting(self, inputs: Inputs, new: int) -> tuple[Tensor, Tensor]:
        """Return ids and mask of as much of the prompts as leaves positions for the answers."""
        ids, mask = inputs.tensors["input_ids"], inputs.mask
        if self.positions is None or ids.shape[1] + new <= self.positions:
            return ids, mask
        if new >= self.positions:
            raise CompositionError(
                f"evaluate.max_new_tokens is {new}, and the model has positions for "
                f"{self.positions} tokens, prompt and answer together; write fewer"
            )
        rows = [
            self.reader.shortened(row[real].tolist(), self.positions - new)
            for row, real in zip(ids, mask, strict=True)
        ]
        length = max(map(len, rows))
        kept = mask[:, -length:].clone()
        shorter = ids[:, -length:].clone()
        for place, row in zip(shorter, rows, strict=True):
            place[length - len(row) :] = torch.tensor(row, device=ids.device)
        return shorter, kept


class _Stop(transformers.StoppingCriteria):
    """Ends a row that has written one of the stop strings.

    Only the end of a row is decoded at each step. Tokens that say anything say a byte or more, so
    a stop string begins at most as many such tokens before its end as it has bytes. The first
    token may say something else without those before it, so there is one more; and where the end
    has a stop string, the text of the whole row decides.
    """

    def __init__(self, writer: Writer, start: int, stop: Sequence[str]) -> None:
        self.writer = writer
        self.start = start
        self.stop = tuple(stop)
        self.width = max(len(each.encode()) for each in self.stop) + 1
        self.silent = _silent(writer.reader.tokenizer)
        self.ends: list[deque[int]] = []
        self.found: list[bool] = []

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Return ``[b]``, true for rows that are finished; called after each token."""
        if not self.ends:
            length = self.width + MOST_BYTES - 1
            self.ends = [deque(maxlen=length) for _ in input_ids]
            self.found = [False] * len(self.ends)
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if not self.found[row] and self._says(token):
                self.ends[row].append(token)
                self.found[row] = self._ends_with_stop(self.ends[row]) and self._has_stop(
                    self.writer.decoded(input_ids[row, self.start :].tolist())
                )
        return torch.tensor(self.found, device=input_ids.device)

    def _says(self, token: int) -> bool:
        tokenizer = self.writer.reader.tokenizer
        # An embedding may be longer than the vocabulary, and its last tokens are no text.
        return token not in self.silent and tokenizer.convert_ids_to_tokens(token) is not None

    def _ends_with_stop(self, end: Sequence[int]) -> bool:
        """Whether a row's end has a stop string.

        Tokens that are bytes may begin within a character, and some tokenizers then read none of
        the bytes behind it: so the end begins a little earlier, until its first can be read.
        """
        tokens = list(end)
        for more in range(MOST_BYTES):
            text = self.writer.decoded(tokens[-self.width - more :])
            if self._has_stop(text):
                return True
            if not text.startswith(UNREADABLE):
                break
        return False

    def _has_stop(self, text: str) -> bool:
        return any(each in text for each in self.stop)


def _silent(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that are left out of a text."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset((*tokenizer.all_special_ids, *(i for i, token in added if token.special)))


def _ends(causal: Any) -> set[int]:
    """Return the tokens by which the model's own files say that it ends."""
    ends = (causal.generation_config.eos_token_id, causal.config.eos_token_id)
    listed = [each if isinstance(each, list) else [each] for each in ends]
    return {token for some in listed for token in some if token is not None}


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    return ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids))]


def _before(text: str, stop: Sequence[str]) -> str:
    places = [text.index(each) for each in stop if each in text]
    return text[: min(places, default=len(text))]
