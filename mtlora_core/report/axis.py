"""From values to places: scales with round numbers at their ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A scale from ``low … high`` to ``begin … end``, which may run backwards."""

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands; values outside stand outside."""
        low, high, value = (self._scaled(v) for v in (self.low, self.high, value))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def inside(self, value: float) -> float:
        """Return the nearest value that the axis has."""
        return min(max(value, self.low), self.high)

    def ticks(self, most: int = 4, *, whole: bool = False) -> list[float]:
        """Return about ``most`` round values, in order: at least two, unless they are ``whole``."""
        found = _powers(self.low, self.high) if self.logarithmic else []
        if len(found) > 1:
            return found
        found = _round(self.low, self.high, most, whole)
        return found if len(found) > 1 else _round(self.low, self.high, 2 * most, whole)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def spanning(
    values: Sequence[float], begin: float, end: float, *, logarithmic: bool = False
) -> Axis:
    """Return an axis with room for values, whose differences may be 0."""
    low, high = min(values), max(values)
    if logarithmic:
        return Axis(low / 1.25, high * 1.25, begin, end, logarithmic=True)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(low - room, high + room, begin, end)


def written(ticks: Sequence[float]) -> list[str]:
    """Return ticks as text with the decimals that tell them apart."""
    if ticks and max(ticks) >= 10_000:
        return [_thousands(tick) for tick in ticks]
    gap = min((b - a for a, b in pairwise(ticks)), default=1.0)
    decimals = next((d for d in range(7) if _is_whole(gap * 10**d)), 6)
    return [f"{tick:.{decimals}f}".replace("-", "−") for tick in ticks]


def _thousands(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:g}"


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6 and round(value) > 0


def _round(low: float, high: float, most: int, whole: bool) -> list[float]:
    rough = max((high - low) / most, 1.0 if whole else 0.0)
    power = 10 ** math.floor(math.log10(rough))
    steps = [power * s for s in STEPS if power * s >= rough * (1 - 1e-9)]
    step = next(s for s in steps if not whole or s == round(s))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, or the powers alone where that would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = (1, 2, 5) if len(powers) <= 3 else (1,)
    found = [f * 10.0**p for p in powers for f in fine]
    return [value for value in found if low <= value <= high]
