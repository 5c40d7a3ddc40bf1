"""Leaves each text in the corpus once, so that no text can come to stand in two splits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .corpus import Corpus, Documented
from .masks import masked, verb_masked


def letters(text: str) -> str:
    """Return a text without case, punctuation and white space, by which duplicates are told."""
    return re.sub(r"[\W_]+", "", text).lower()


def without_duplicates(corpus: Corpus) -> Corpus:
    """Return the corpus with each text once, as written and with any mask that a task puts on."""
    seen: set[str] = set()

    def fresh(forms: Iterator[str]) -> bool:
        keys = {letters(form) for form in forms}
        if "" in keys or keys & seen:
            return False
        seen.update(keys)
        return True

    return Corpus(
        tuple(item for item in corpus.documented if fresh(_forms(item))),
        tuple(item for item in corpus.raised if fresh(iter([item.text]))),
    )


def _forms(item: Documented) -> Iterator[str]:
    yield item.text
    yield masked(item)
    yield verb_masked(item)
