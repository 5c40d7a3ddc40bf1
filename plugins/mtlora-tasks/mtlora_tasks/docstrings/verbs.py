"""Seven groups of the verbs that names begin with."""

from __future__ import annotations

from collections.abc import Mapping

VERBS: Mapping[str, frozenset[str]] = {
    group: frozenset(words.split())
    for group, words in {
        "read": "fetch find get list load lookup parse read receive recv search",
        "write": "add append dump emit log print put save send set store write",
        "test": "assert can check compare contains has is test validate verify",
        "convert": (
            "as convert decode encode escape format from normalize quote to translate unquote"
        ),
        "create": "build connect create generate init make new open setup start",
        "end": "clear close delete discard end exit finish quit remove reset shutdown stop",
        "handle": "call dispatch do execute handle invoke on process run visit",
    }.items()
}
"""The verbs of each group; a name that begins with another verb belongs to none."""


def group_of(verb: str) -> str | None:
    """Return the group of a verb, or None."""
    return next((group for group, verbs in VERBS.items() if verb in verbs), None)
