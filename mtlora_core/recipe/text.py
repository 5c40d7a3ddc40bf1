"""YAML text becomes nodes: the YAML 1.2 core schema, bounded, each value with its position.

The event stream is read directly rather than through a loader: the bounds then stop a hostile
file before anything has been built from it, and no tag can ask for a Python object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from ..errors import RecipeError
from ..options import RecipeText
from .node import DEPTH, Node, Position

VALUES = 10_000
"""How many values a recipe may have, those repeated through aliases counted again."""

Place = Callable[[int, int], Position]
"""Makes the position of a line and column, both from 1."""


def read_yaml(text: str, place: Place, folder: Path) -> Node | None:
    """Read one YAML document.

    Args:
        text: The document.
        place: Makes the position of a line and column.
        folder: What relative paths in it are relative to.

    Returns:
        Its value, or None where there is nothing but white space and comments.

    Raises:
        RecipeError: every problem found; the text is not YAML, is out of bounds, has a key twice,
            a key that is no text, or a tag of its own.
    """
    reader = _Reader(text, place, folder)
    try:
        node = reader.document()
    except MarkedYAMLError as error:
        reader.problems.append(_syntax(error, place))
    except YAMLError as error:
        reader.problems.append(f"{place(1, 1)}: not readable as YAML: {str(error).splitlines()[0]}")
    if reader.problems:
        raise RecipeError(reader.problems)
    return node


def _syntax(error: MarkedYAMLError, place: Place) -> str:
    mark = error.problem_mark or error.context_mark
    position = place(mark.line + 1, mark.column + 1) if mark else place(1, 1)
    reason = " ".join(str(error.problem or error.context).split())
    context = f" ({error.context})" if error.problem and error.context else ""
    return f"{position}: not valid YAML: {reason}{context}"


class _Reader:
    """Reads the events of one document."""

    def __init__(self, text: str, place: Place, folder: Path) -> None:
        self.problems: list[str] = []
        self._events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
        self._place = place
        self._folder = folder
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def document(self) -> Node | None:
        """Return the only document, or None where there is none."""
        next(self._events)  # the start of the stream
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            return None
        assert isinstance(start, DocumentStartEvent)
        node = self._value(next(self._events), 0)
        assert isinstance(next(self._events), DocumentEndEvent)
        rest = next(self._events)
        if not isinstance(rest, StreamEndEvent):
            self.problems.append(f"{self._at(rest)}: a second document; a recipe is one")
        return node

    def _value(self, event: Event, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        self._counted(1, event)
        if isinstance(event, ScalarEvent):
            node = Node(self._scalar(event), self._at(event))
        else:
            self._nested(depth + 1, event)
            self._check_tag(event, "map" if isinstance(event, MappingStartEvent) else "seq")
            node = Node(self._collection(event, depth + 1), self._at(event))
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _collection(self, event: Event, depth: int) -> Any:
        if isinstance(event, MappingStartEvent):
            return self._mapping(depth)
        assert isinstance(event, SequenceStartEvent)
        return [self._value(each, depth) for each in self._until(SequenceEndEvent)]

    def _mapping(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for event in self._until(MappingEndEvent):
            key, at = self._key(event, depth), self._at(event)
            node = replace(self._value(next(self._events), depth), at=at)
            if key is None:
                continue
            if key in entries:
                self.problems.append(f"{at}: {key!r} is written twice; first at {entries[key].at}")
            entries[key] = node
        return entries

    def _key(self, event: Event, depth: int) -> str | None:
        if isinstance(event, ScalarEvent) and event.value != "<<":
            return str(event.value)
        node = self._value(event, depth)
        if node.value == "<<":
            reason = "'<<' is not part of YAML 1.2; write the keys out, or use `extends:`"
        else:
            reason = "a key must be plain text"
        self.problems.append(f"{self._at(event)}: {reason}")
        return None

    def _alias(self, event: AliasEvent, depth: int) -> Node:
        if event.anchor not in self._anchors:
            self._stop(event, f"*{event.anchor} stands for nothing that is complete before it")
        node = self._anchors[str(event.anchor)]
        self._counted(_size(node), event)
        self._nested(depth + _height(node), event)
        return node

    def _scalar(self, event: ScalarEvent) -> Any:
        tag = self._check_tag(event, "str", "int", "float", "bool", "null")
        if tag == "str" or (tag is None and event.style):
            return RecipeText(event.value, self._folder)
        value = core_scalar(event.value)
        return RecipeText(value, self._folder) if isinstance(value, str) else value

    def _check_tag(self, event: Event, *known: str) -> str | None:
        written = getattr(event, "tag", None)
        tag = None if written is None else str(written).removeprefix("tag:yaml.org,2002:")
        if tag is not None and tag not in known:
            self.problems.append(f"{self._at(event)}: a recipe has no tags such as {tag!r}")
        return tag

    def _until(self, end: type[Event]) -> Iterator[Event]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _counted(self, values: int, event: Event) -> None:
        self._count += values
        if self._count > VALUES:
            self._stop(event, f"more than {VALUES:,} values, aliases written out; none needs them")

    def _nested(self, depth: int, event: Event) -> None:
        if depth > DEPTH:
            self._stop(event, f"nested more than {DEPTH} levels deep; no recipe needs that")

    def _stop(self, event: Event, reason: str) -> NoReturn:
        raise RecipeError([*self.problems, f"{self._at(event)}: {reason}"])

    def _at(self, event: Event) -> Position:
        return self._place(event.start_mark.line + 1, event.start_mark.column + 1)


def _size(node: Node) -> int:
    return 1 + sum(map(_size, _children(node)))


def _height(node: Node) -> int:
    nested = isinstance(node.value, (dict, list))
    return nested + max(map(_height, _children(node)), default=0)


def _children(node: Node) -> list[Node]:
    if isinstance(node.value, dict):
        return list(node.value.values())
    return node.value if isinstance(node.value, list) else []


# Section 10.3.2 of the YAML 1.2.2 specification. More digits than an integer could need are left
# to the float below: Python refuses to turn thousands of them into one.
_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (r"null|Null|NULL|~|", lambda text: None),
        (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
        (r"[-+]?[0-9]{1,100}", int),
        (r"0o[0-7]+", lambda text: int(text[2:], 8)),
        (r"0x[0-9a-fA-F]+", lambda text: int(text, 16)),
        (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
        (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", ""))),
    )
)


def core_scalar(text: str) -> Any:
    """Return what a plain scalar means in YAML 1.2's core schema; a date, for one, is text."""
    for pattern, make in _CORE:
        if pattern.fullmatch(text):
            return make(text)
    return text
