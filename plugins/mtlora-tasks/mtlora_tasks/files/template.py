"""Texts with columns of a row filled in: ``{name}`` stands for a column, and nothing more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
"""A brace written twice, or a column. What stands between braces is the column's whole name."""


def columns_in(text: str) -> tuple[str, ...]:
    """Return the columns that a text names, each once, in order."""
    names = [piece[1] for piece in _PIECE.finditer(text) if piece[1] is not None]
    return tuple(dict.fromkeys(names))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the values of its columns; ``{{`` and ``}}`` are braces."""
    return _PIECE.sub(lambda piece: piece[0][0] if piece[1] is None else values[piece[1]], text)


def _sound(text: str) -> str:
    if re.search(r"[{}]", _PIECE.sub("", text)):
        raise ValueError(
            f"{text!r} has a brace that closes or opens nothing; write {{column}} for a column, "
            "and a brace itself twice"
        )
    return text


def _varied(text: str) -> str:
    if not columns_in(text):
        raise ValueError(f"{text!r} names no column, so every answer would be the same")
    return text


class Template(BaseModel):
    """How a row becomes a prompt and its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt: Annotated[str, AfterValidator(_sound)]
    """What is read, such as ``"{question}\\nAnswer:"``."""
    answer: Annotated[str, AfterValidator(_sound), AfterValidator(_varied)]
    """What is to be said, such as ``" {target}"``."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys((*columns_in(self.prompt), *columns_in(self.answer))))

    @property
    def answer_column(self) -> str | None:
        """The answer's one column; None where it has several."""
        names = columns_in(self.answer)
        return names[0] if len(names) == 1 else None
