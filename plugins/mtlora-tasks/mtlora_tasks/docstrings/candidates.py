"""The eight tasks: what each reads, and the label that the code gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import get_args

from mtlora_core.inputs import Text
from mtlora_core.tasks import Split

from .areas import AREAS, area_of
from .corpus import Corpus, Default, Documented, Kind
from .masks import masked, name_words, verb_masked
from .options import TaskName
from .split import by_object, position, split_of
from .verbs import VERBS, group_of

EXCEPTIONS = ("ValueError", "TypeError", "RuntimeError", "OSError")
"""The exceptions that the library raises most often with a message."""


@dataclass(frozen=True)
class Candidate:
    """An example that a task could take."""

    split: Split
    input: Text
    label: str


@dataclass(frozen=True)
class Question:
    """What a task asks."""

    labels: tuple[str, ...]
    candidates: Callable[[Corpus], Iterator[Candidate]]


def returns(corpus: Corpus) -> Iterator[Candidate]:
    """Does it return a value, or nothing?"""
    for item in _split_by_module(corpus):
        if item.returns is not None:
            yield _candidate(item, masked(item), "value" if item.returns else "nothing")


def kind(corpus: Corpus) -> Iterator[Candidate]:
    """Is it a module, a class, a function or a method?"""
    for item in _split_by_module(corpus):
        yield _candidate(item, masked(item), item.kind)


def verb(corpus: Corpus) -> Iterator[Candidate]:
    """What does it do, by the first word of its name, which is masked?"""
    for item in _split_by_module(corpus):
        words = name_words(item.short)
        group = group_of(words[0]) if words else None
        if group and item.kind in ("function", "method"):
            yield _candidate(item, verb_masked(item), group)


def optional(corpus: Corpus) -> Iterator[Candidate]:
    """Has it parameters that may be left out?"""
    for item in _split_by_module(corpus):
        if item.optional is not None:
            yield _candidate(item, masked(item), "optional" if item.optional else "required")


def exception(corpus: Corpus) -> Iterator[Candidate]:
    """Of which type is the exception with this message?"""
    for item in corpus.raised:
        if item.type in EXCEPTIONS:
            yield Candidate(split_of(item.module), item.text, item.type)


def name(corpus: Corpus) -> Iterator[Candidate]:
    """Is this the name of what is described, or another name of its module?"""
    for _, group in groupby(corpus.documented, key=lambda item: item.module):
        items = [item for item in group if item.kind != "module" and item.short]
        for item in filter(by_object, items):
            if other := _another_name(item, items):
                yield _named(item, other)


def default(corpus: Corpus) -> Iterator[Candidate]:
    """What kind of value does this parameter have where it is left out?"""
    for item in _split_by_module(corpus):
        for parameter, value in item.defaults:
            yield _candidate(item, (masked(item), " ".join(name_words(parameter))), value)


def area(corpus: Corpus) -> Iterator[Candidate]:
    """Which part of the library is it from?"""
    for item in filter(by_object, corpus.documented):
        if label := area_of(item.module):
            yield Candidate(split_of(item.module, item.name), masked(item), label)


QUESTIONS: Mapping[TaskName, Question] = MappingProxyType(
    {
        "returns": Question(("nothing", "value"), returns),
        "kind": Question(get_args(Kind), kind),
        "verb": Question(tuple(VERBS), verb),
        "optional": Question(("required", "optional"), optional),
        "exception": Question(EXCEPTIONS, exception),
        "name": Question(("other", "right"), name),
        "default": Question(get_args(Default), default),
        "area": Question(tuple(AREAS), area),
    }
)
"""The tasks by name."""


def _split_by_module(corpus: Corpus) -> Iterator[Documented]:
    return (item for item in corpus.documented if not by_object(item))


def _candidate(item: Documented, text: Text, label: str) -> Candidate:
    return Candidate(split_of(item.module), text, label)


def _another_name(item: Documented, items: list[Documented]) -> str | None:
    """Return the name of another object of the module, chosen by the hash of both."""
    names = {i.short for i in items} - {item.short}
    return min(names, key=lambda other: position(item.module, item.name, other), default=None)


def _named(item: Documented, other: str) -> Candidate:
    """Ask about an object with its own name or ``other``; both are masked, or a mask would tell."""
    right = position("right", item.module, item.name) < 0.5
    shown = " ".join(name_words(item.short if right else other))
    text = masked(item, other)
    return Candidate(split_of(item.module, item.name), (shown, text), "right" if right else "other")
