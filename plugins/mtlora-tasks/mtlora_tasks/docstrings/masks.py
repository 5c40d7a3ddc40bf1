"""Hides an object's own name in its docstring, so that the name does not give the label away."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .corpus import Documented

MASK = "…"
"""Stands where the name stood."""


def masked(item: Documented, *others: str) -> str:
    """Return an object's text without its name, and without the names ``others``."""
    return _hide(item.text, _literal({*_spellings(item), *others}))


def verb_masked(item: Documented) -> str:
    """Return an object's text without its name and without its verb, in any plain form."""
    words = name_words(item.short)
    verb = _inflected(words[0]) if words else {}
    return _hide(item.text, _literal(_spellings(item)) | verb)


def name_words(name: str) -> list[str]:
    """Return the words of an identifier in lower case: ``readHTTPHeader``, ``read_http_header``."""
    return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _spellings(item: Documented) -> set[str]:
    last = item.name.rpartition(".")[2]
    return {name for name in (item.name, last, last.strip("_")) if name}


def _literal(names: set[str]) -> dict[str, str]:
    return {name: re.escape(name) for name in names}


def _inflected(verb: str) -> dict[str, str]:
    """Return a pattern for a verb's regular forms: reads, making, stopped, copied."""
    if verb.endswith("y"):
        stem = re.escape(verb[:-1])
        return {verb[:-1]: rf"{stem}(?:y|ys|ying|ies|ied)"}
    stem = re.escape(verb.removesuffix("e"))
    return {verb.removesuffix("e"): rf"{stem}{re.escape(verb[-1])}?(?:e|es|ed|s|ing)?"}


def _hide(text: str, patterns: Mapping[str, str]) -> str:
    """Mask what matches as a word; each pattern stands under a piece that it must contain."""
    lowered = text.lower()  # most texts do not name their object, and expressions cost to compile
    present = [pattern for piece, pattern in patterns.items() if piece.lower() in lowered]
    if not present:
        return text
    # The longest first, or a dotted name would keep its head.
    choices = "|".join(sorted(present, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{choices})(?!\w)", MASK, text, flags=re.IGNORECASE)
