"""Means over seeds, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Some numbers of one kind, such as a row's test means over seeds."""

    count: int
    mean: float
    deviation: float | None
    """The standard deviation of the sample, of ``count - 1`` degrees of freedom; None for one."""
    half: float | None
    """Half the width of the 95 % interval of the mean, by Student's t; None for one."""

    @property
    def low(self) -> float | None:
        """The lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """The upper end of the interval."""
        return None if self.half is None else self.mean + self.half

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, the ends of the interval written out."""
        return {**asdict(self), "low": self.low, "high": self.high}


def summary(values: Sequence[float]) -> Summary | None:
    """Return mean, deviation and t-interval of the mean; None of no values."""
    if not values:
        return None
    count, mean = len(values), fmean(values)
    if count == 1:
        return Summary(count, mean, None, None)
    deviation = stdev(values, mean)
    half = _t_quantile((1 + CONFIDENCE) / 2, count - 1) * deviation / math.sqrt(count)
    return Summary(count, mean, deviation, half)


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Summary | None:
    """Return the summary of the differences, seed by seed; None where they share no seed.

    Two rows of one seed see the same batches and start from the same factors wherever they have
    the same parts, so much of what a seed does to both falls out of their difference.
    """
    shared = [seed for seed in values if seed in baseline]
    return summary([values[seed] - baseline[seed] for seed in shared])


def _t_quantile(share: float, freedom: int) -> float:
    # Imported here: half a second, for who wants numbers only.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
