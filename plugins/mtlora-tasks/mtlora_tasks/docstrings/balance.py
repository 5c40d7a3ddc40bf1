"""Takes examples so that classes come near to equal numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from .candidates import Candidate
from .split import position


def balanced(candidates: Iterable[Candidate], most: int) -> list[Candidate]:
    """Return at most ``most`` candidates, in the order of their hashes.

    Small classes are taken whole; what is left is shared equally among the larger ones.
    """
    ordered = sorted(candidates, key=_hash)
    room = dict(shares(Counter(c.label for c in ordered), most))
    taken = []
    for candidate in ordered:
        if room[candidate.label]:
            room[candidate.label] -= 1
            taken.append(candidate)
    return taken


def shares(counts: Mapping[str, int], most: int) -> Mapping[str, int]:
    """Return how many of each class are taken, ``most`` in all or every one there is."""
    room: dict[str, int] = {}
    for label in sorted(counts, key=lambda label: (counts[label], label)):
        equal = (most - sum(room.values())) // (len(counts) - len(room))
        room[label] = min(counts[label], equal)
    return room


def _hash(candidate: Candidate) -> float:
    return position("order", json.dumps(candidate.input), candidate.label)
