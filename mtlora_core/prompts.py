"""How rows of data become what a language model reads: texts with columns filled in, and chats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROLES = ("system", "user", "assistant")
Turns = tuple[tuple[str, str], ...]
"""Role and content of each message of a chat, in order."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
"""A brace written twice, or a column. What stands between braces is the column's whole name."""


class Unfit(ValueError):
    """A row cannot be used.

    Args:
        what: Why, with ``{}`` for what was found.
        found: What was found.
    """

    def __init__(self, what: str, found: object = None) -> None:
        super().__init__(what.replace("{}", repr(found)))
        self.what, self.found = what, found


@dataclass(frozen=True)
class Asking:
    """How the rows of a causal task are read.

    It is kept with a trained model, so that the model is asked as it was taught.
    """

    prompt: str | None = "{text}"
    """What is read, with ``{column}`` for what a row has there; None where all rows are chats."""
    answer: str = "{answer}"
    """How one of a row's options is said, with its one column for the option."""
    messages: str | None = "messages"
    """The column of a chat, which comes before the prompt; None where no row is one."""
    options: str | None = "options"
    """The column of the answers to choose from; None where rows have none of their own."""

    def read(self, row: Mapping[str, Any]) -> str | Turns:
        """Return what is read of a row: a prompt, or a chat up to the user's last turn.

        ``text`` stands for the one column of a prompt, or for all that the user of a chat said.

        Raises:
            Unfit: the row lacks a column, or has something else there.
        """
        if self.messages is not None and self.messages in row:
            return turns(row[self.messages])[0]
        if self.prompt is None:
            _require(("text",), row, f"{self.messages!r} or 'text'")
            return (("user", text_of("text", row["text"])),)
        return self.prompted(row)

    def prompted(self, row: Mapping[str, Any]) -> str:
        """Return the prompt of a row that is no chat.

        Raises:
            Unfit: the row lacks a column, or has no text there.
        """
        if len(self.columns) == 1 and "text" in row:
            row = {self.columns[0]: row["text"], **row}
        _require(self.columns, row, " and ".join(map(repr, self.columns)))
        read = {column: text_of(column, row[column]) for column in self.columns}
        return fill(self.prompt or "", read)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a prompt."""
        return columns_in(self.prompt or "")

    def choices(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the answers that a row is to be answered with, as they are said; empty: any.

        Raises:
            Unfit: it has something else there.
        """
        column = self.options
        if column is None or column not in row:
            return ()
        value = row[column]
        if not isinstance(value, list | tuple) or len(value) < 2:
            raise Unfit(f"column {column!r} has {{}}, and not a list of two answers or more", value)
        return tuple(self.said(text_of(column, each)) for each in value)

    def said(self, option: str) -> str:
        """Return an option as the model is to say it."""
        return fill(self.answer, dict.fromkeys(columns_in(self.answer), option))


def columns_in(text: str) -> tuple[str, ...]:
    """Return the columns that a text names, each once, in order."""
    names = [piece[1] for piece in _PIECE.finditer(text) if piece[1] is not None]
    return tuple(dict.fromkeys(names))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the values of its columns; ``{{`` and ``}}`` are braces."""
    return _PIECE.sub(lambda piece: piece[0][0] if piece[1] is None else values[piece[1]], text)


def lone_brace(text: str) -> bool:
    """Whether a text has a brace that opens or closes nothing."""
    return re.search(r"[{}]", _PIECE.sub("", text)) is not None


def spelt(value: object) -> str | None:
    """Return a truth value, whole number or text as it is spelt; None for what is none of these.

    Truth values are spelt as in JSON, whole numbers without a fraction.
    """
    match value:
        case bool():
            return str(value).lower()
        case int() | str():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
    return None


def text_of(column: str, value: object) -> str:
    """Return what a row has in a column as a text.

    Raises:
        Unfit: it is no text and no number.
    """
    if value is None:
        raise Unfit(f"column {column!r} has nothing")
    if (text := spelt(value)) is not None:
        return text
    if isinstance(value, float):
        return str(value)
    raise Unfit(f"column {column!r} has {{}}, which is no text", value)


def turns(messages: object) -> tuple[Turns, Turns]:
    """Return what was said up to the last turn of the user, and what was said then.

    Args:
        messages: A list of ``{"role": …, "content": …}``.

    Raises:
        Unfit: it is something else, or the user says nothing.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise Unfit("there are no messages, but {}", messages)
    said = tuple(_turn(each) for each in messages)
    asked = [i for i, (role, _) in enumerate(said) if role == "user"]
    if not asked:
        raise Unfit("the user says nothing")
    return said[: asked[-1] + 1], said[asked[-1] + 1 :]


def _turn(message: object) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise Unfit('a message is {}, and not {"role": …, "content": …}', message)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise Unfit(f"a message has the role {{}}; the roles are {', '.join(ROLES)}", role)
    if not isinstance(content, str):
        raise Unfit("a message has the content {}, which is no text", content)
    return str(role), content


def _require(columns: tuple[str, ...], row: Mapping[str, Any], wanted: str) -> None:
    if missing := [column for column in columns if column not in row]:
        absent = " and no ".join(map(repr, missing))
        raise Unfit(f"has no {absent}; the task is asked with {wanted}")
