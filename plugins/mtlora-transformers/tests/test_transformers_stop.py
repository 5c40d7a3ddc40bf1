"""Where a written answer stops: after each token, what the slow obvious decoding says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from mtlora_transformers.generation import Writer, _Stop
from mtlora_transformers.library import transformers

TEXT = ["a", "b", "ab", "aa", " ", " a", "\n", "\n\n", "b\n", "é", "日", "日é", "😀", "a😀"]
STOPS = [*TEXT, "\na", "a b", "ab\n\n", "é日", "日日", "b😀a", "aaaaaa"]
SPECIAL, UNUSED = ["<s>", "</s>", "<note>"], 2


def _byte_level() -> Tokenizer:
    """Return a tokenizer like GPT-2's: every byte is a token, and so are some strings of them."""
    pieces = [_in_bytes(text) for text in TEXT]
    letters = [*pre_tokenizers.ByteLevel.alphabet(), *pieces]
    tokenizer = Tokenizer(
        models.BPE({each: i for i, each in enumerate(dict.fromkeys(letters))}, [])
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _in_bytes(text: str) -> str:
    """Return a text as ByteLevel writes its bytes."""
    return "".join(
        piece
        for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    )


def _byte_fallback() -> Tokenizer:
    """Return a tokenizer like Llama's: what is no piece is bytes, all in a row or none of them."""
    pieces = [text.replace(" ", "▁") for text in TEXT if text.isascii()]
    letters = [*(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    tokenizer = Tokenizer(
        models.BPE({each: i for i, each in enumerate(letters)}, [], byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


@cache
def tokenizer_of(kind: str) -> Any:
    made = {"byte-level": _byte_level, "byte-fallback": _byte_fallback}[kind]()
    made.add_special_tokens([AddedToken(each, special=True) for each in SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=SPECIAL[0], eos_token=SPECIAL[1]
    )


def writer_of(tokenizer: Any) -> Any:
    """Return a writer without its model."""
    writer = object.__new__(Writer)
    writer.reader = SimpleNamespace(tokenizer=tokenizer)  # type: ignore[assignment]
    return writer


def stopped_at(tokenizer: Any, rows: torch.Tensor, stop: Sequence[str]) -> list[list[bool]]:
    """Return after each new token which rows have stopped; a token of the prompt is before them."""
    criterion = _Stop(writer_of(tokenizer), 1, stop)
    return [criterion(rows[:, : n + 1], None).tolist() for n in range(1, rows.shape[1])]


def stopped_slowly(tokenizer: Any, rows: torch.Tensor, stop: Sequence[str]) -> list[list[bool]]:
    """Decode every row whole after every token."""

    def has_stopped(row: list[int], length: int) -> bool:
        texts = [
            tokenizer.decode(
                row[1 : n + 1], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            for n in range(1, length + 1)
        ]
        return any(each in text for text in texts for each in stop)

    return [[has_stopped(row, n) for row in rows.tolist()] for n in range(1, rows.shape[1])]


def _ids(tokenizer: Any) -> st.SearchStrategy[list[int]]:
    """Return what is written: pieces, runs of bytes, whole characters in bytes, special tokens."""
    one = st.integers(0, len(tokenizer) - 1 + UNUSED).map(lambda i: [i])
    special = st.sampled_from(tokenizer.convert_tokens_to_ids(SPECIAL)).map(lambda i: [i])
    spelt = st.sampled_from([*STOPS, "日本語", "😀😀"]).map(lambda text: _spelt(tokenizer, text))
    return st.lists(one | special | spelt, min_size=1, max_size=8).map(
        lambda some: [token for each in some for token in each]
    )


def _spelt(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text's bytes."""
    fallback = [f"<0x{byte:02X}>" for byte in text.encode()]
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[t] for t in (fallback if fallback[0] in vocabulary else _in_bytes(text))]


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_row_stops_after_the_token_that_completes_a_stop_string(
    kind: str, data: st.DataObject
) -> None:
    tokenizer = tokenizer_of(kind)
    row = data.draw(_ids(tokenizer))
    stop = data.draw(st.lists(st.sampled_from(STOPS), min_size=1, max_size=3))
    rows = torch.tensor([[0, *row], [0, *reversed(row)]])

    assert stopped_at(tokenizer, rows, stop) == stopped_slowly(tokenizer, rows, stop)


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback"])
def test_a_stop_string_between_others_bytes_is_found(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    spelt = _spelt(tokenizer, "日" * 9 + "é")

    found = stopped_at(tokenizer, torch.tensor([[0, *spelt]]), ["é"])

    assert found == [[False]] * (len(spelt) - 1) + [[True]]


def test_a_space_that_a_text_begins_with_is_seen_within_a_row() -> None:
    tokenizer = tokenizer_of("byte-fallback")
    row = tokenizer.convert_tokens_to_ids(["b", "▁", "a"])

    assert stopped_at(tokenizer, torch.tensor([[0, *row]]), [" a"]) == [[False], [False], [True]]


def test_bytes_that_the_whole_row_makes_unreadable_stop_nothing() -> None:
    tokenizer = tokenizer_of("byte-fallback")
    row = [*tokenizer.convert_tokens_to_ids(["<0xFF>"]), *_spelt(tokenizer, "日" * 9 + "é")]
    rows = torch.tensor([[0, *row]])

    assert stopped_at(tokenizer, rows, ["é"]) == stopped_slowly(tokenizer, rows, ["é"])


def test_tokens_that_say_nothing_do_not_push_a_stop_string_out_of_sight() -> None:
    tokenizer = tokenizer_of("byte-level")
    first, last = tokenizer.convert_tokens_to_ids(["a", "b"])
    silent = [*tokenizer.convert_tokens_to_ids(SPECIAL), len(tokenizer)] * 5

    found = stopped_at(tokenizer, torch.tensor([[0, first, *silent, last]]), ["ab"])

    assert found[-2:] == [[False], [True]]


def test_a_step_decodes_a_few_tokens_and_none_of_a_row_that_is_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = tokenizer_of("byte-level")
    a, newline = tokenizer.convert_tokens_to_ids(["a", _in_bytes("\n")])
    rows = torch.tensor([[0, *[a] * 200], [0, newline, *[a] * 199]])
    decoded: list[int] = []
    plain = Writer.decoded

    def counting(self: Writer, ids: list[int]) -> str:
        decoded.append(len(ids))
        return plain(self, ids)

    monkeypatch.setattr(Writer, "decoded", counting)

    stopped_at(tokenizer, rows, ["\n"])

    assert len(decoded) <= 200 + 2
    assert max(decoded) <= 5
