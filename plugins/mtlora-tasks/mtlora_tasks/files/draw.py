"""Draws rows in proportion to their classes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence


def draw(classes: Sequence[str], count: int, seed: int, *, spare: int = 1) -> set[int]:
    """Return the indices of ``count`` rows, in proportion to the classes.

    Args:
        classes: The class of each row.
        count: How many rows are drawn.
        seed: Which of them.
        spare: How many rows of each class are left, whatever the proportion, and though fewer
            than ``count`` be drawn: a class that is cut from keeps a row to be learnt from.
    """
    order = random.Random(seed).sample(range(len(classes)), len(classes))
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
