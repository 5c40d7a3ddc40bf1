"""Draws rows in proportion to their classes."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence


def by_seed(count: int, seed: int) -> list[int]:
    """Return ``count`` indices in an order that the seed decides."""
    return random.Random(seed).sample(range(count), count)


def by_hash(contents: Sequence[str], stream: str) -> list[int]:
    """Return the indices of ``contents`` in an order that each one's own content decides.

    Another stream has another order; equal contents stand side by side.
    """
    keys = [hashlib.sha256(f"{stream}\0{each}".encode()).digest() for each in contents]
    return sorted(range(len(contents)), key=keys.__getitem__)


def draw(classes: Sequence[str], count: int, order: Sequence[int], *, spare: int = 1) -> set[int]:
    """Return the indices of ``count`` rows, in proportion to the classes.

    Args:
        classes: The class of each row.
        count: How many rows are drawn.
        order: The indices of the rows, those to take first in front.
        spare: How many rows of each class are left, whatever the proportion, and though fewer
            than ``count`` be drawn: a class that is cut from keeps a row to be learnt from.
    """
    room = _quotas(Counter(classes), count, spare)
    drawn = set()
    for index in order:
        if room[classes[index]]:
            room[classes[index]] -= 1
            drawn.add(index)
    return drawn


def _quotas(counts: Mapping[str, int], count: int, spare: int) -> dict[str, int]:
    """Return how many of each class: whole parts first, then one to the largest remainders."""
    total = sum(counts.values())
    exact = {label: count * n / total for label, n in counts.items()}
    most = {label: max(n - spare, 0) for label, n in counts.items()}
    quotas = {label: min(int(share), most[label]) for label, share in exact.items()}
    for label in sorted(exact, key=lambda label: (quotas[label] - exact[label], label)):
        if sum(quotas.values()) < count and quotas[label] < most[label]:
            quotas[label] += 1
    return quotas
