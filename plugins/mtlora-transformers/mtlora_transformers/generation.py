"""Greedy generation by transformers' own loop, with its cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Inputs

from .encoding import Texts
from .library import transformers


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
        return [_before(text, stop) for text in self.texts(tokens[:, ids.shape[1] :], ends)]

    def texts(self, rows: Tensor, ends: Sequence[int] = ()) -> list[str]:
        """Return the text of each row of new tokens, up to its first end token."""
        return [
            str(
                self.reader.tokenizer.decode(
                    _until(row, ends),
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
            )
            for row in rows.tolist()
        ]

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
    """Ends a row that has written one of the stop strings."""

    def __init__(self, writer: Writer, start: int, stop: Sequence[str]) -> None:
        self.writer = writer
        self.start = start
        self.stop = tuple(stop)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Return ``[b]``, true for rows that are finished."""
        texts = self.writer.texts(input_ids[:, self.start :])
        found = [any(each in text for each in self.stop) for text in texts]
        return torch.tensor(found, device=input_ids.device)


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
