"""How often tasks conflict over a whole run, from the records of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Record = Mapping[str, Any]

RESAMPLES = 1_000


def conflict_rates(records: Iterable[Record], *, seed: int = 0) -> dict[str, Any]:
    """Return the rates of conflicts, each with a bootstrap 95 % interval.

    ``global``, each of ``layers`` and each of ``kinds`` has the share of negative cosines, and
    ``matrices`` the share of all parameter tensors, among the measured pairs of tasks. Pairs share
    tasks and measurements share pairs, so both are drawn anew, each with replacement (Owen, "The
    pigeonhole bootstrap", 2007, https://arxiv.org/abs/0712.1111): the interval is that of other
    steps and other pairs.

    Args:
        records: Of a run or of ``fit``; steps that were measured have ``conflicts``.
        seed: Of the resampling.

    Returns:
        Plain data: by level ``rate``, ``low`` and ``high``, which are None where no cosine is
        defined; and how many ``measurements`` and ``pairs`` there were. Empty without any.
    """
    steps = (record for record in records if record["event"] == "step")
    measured = [step["conflicts"] for step in steps if "conflicts" in step]
    if not measured:
        return {}
    pairs = list(dict.fromkeys(pair for each in measured for pair in _pairs(each)))

    def rate(*path: str) -> dict[str, float | None]:
        return _rate(_table(measured, pairs, path), seed)

    return {
        "measurements": len(measured),
        "pairs": len(pairs),
        "global": rate("global"),
        "matrices": rate("matrices"),
        **{
            level: {name: rate(level, name) for name in _names(measured, level)}
            for level in ("layers", "kinds")
        },
    }


def _pairs(measured: Record) -> list[tuple[str, str]]:
    return list(combinations(measured["tasks"], 2))


def _names(measured: Sequence[Record], level: str) -> list[str]:
    return list(dict.fromkeys(name for each in measured for name in each[level]))


def _table(
    measured: Sequence[Record], pairs: Sequence[tuple[str, str]], path: Sequence[str]
) -> Array:
    """Return ``[measurements, pairs]``: how much of a conflict each is, NaN where undefined."""
    column = {pair: index for index, pair in enumerate(pairs)}
    table = np.full((len(measured), len(pairs)), np.nan)
    for row, each in zip(table, measured, strict=True):
        level: Record = each
        for key in path:
            level = level.get(key, {})
        values = level.get("shares") or [_negative(value) for value in level.get("cosines", ())]
        for pair, value in zip(_pairs(each), values, strict=False):
            row[column[pair]] = np.nan if value is None else value
    return table


def _negative(cosine: float | None) -> float | None:
    return None if cosine is None else float(cosine < 0)


def _rate(table: Array, seed: int) -> dict[str, float | None]:
    known = np.isfinite(table)
    if not known.any():
        return {"rate": None, "low": None, "high": None}
    values = np.where(known, table, 0.0)
    low, high = np.percentile(_resampled(values, known.astype(float), seed), (2.5, 97.5))
    return {"rate": float(values.sum() / known.sum()), "low": float(low), "high": float(high)}


def _resampled(values: Array, known: Array, seed: int) -> Array:
    """Return the rates of tables whose rows and columns are drawn with replacement."""
    generator = np.random.default_rng(seed)
    rows, columns = (
        generator.multinomial(size, np.full(size, 1 / size), RESAMPLES).astype(float)
        for size in values.shape
    )
    sums: Array = ((rows @ values) * columns).sum(1)
    counts: Array = ((rows @ known) * columns).sum(1)
    rates: Array = sums[counts > 0] / counts[counts > 0]
    return rates
