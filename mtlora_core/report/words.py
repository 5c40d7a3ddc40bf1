"""Numbers as the report's readers see them; files for programs have them in full."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeGuard

UNKNOWN = "–"
"""Stands where there is no number."""

Value = str | int | float | None
Format = Callable[[Value], str]


def text(value: Value) -> str:
    """Return what need not be a number; one has the digits that it was written with."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return UNKNOWN if value is None else str(value)


def aligned(value: Value) -> str:
    """Return text that has numbers in it, which stand below each other."""
    return text(value)


def count(value: Value) -> str:
    """Return a whole number with its thousands apart: ``713,121``."""
    return UNKNOWN if value is None else f"{value:,}"


def score(value: Value) -> str:
    """Return a metric with three decimals: ``0.712``, ``−0.031``."""
    return _decimals(value, "")


def change(value: Value) -> str:
    """Return a difference with its sign: ``+0.012``, ``−0.003``."""
    return _decimals(value, "+")


def short(value: Value) -> str:
    """Return a number of any size in three digits: ``0.0123``, ``713k``, ``1.33M``."""
    if not _known(value):
        return UNKNOWN
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def duration(value: Value) -> str:
    """Return seconds in the unit that they fill: ``42 s``, ``3.0 min``, ``1.5 h``."""
    if not _known(value):
        return UNKNOWN
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def memory(value: Value) -> str:
    """Return bytes in the unit that they fill: ``412 MB``, ``1.3 GB``."""
    if not _known(value):
        return UNKNOWN
    return f"{value / 1e6:.0f} MB" if value < 1e9 else f"{value / 1e9:.1f} GB"


def _decimals(value: Value, sign: str) -> str:
    # A minus is as wide as a plus, so that columns of differences stand in line.
    return f"{value:{sign}.3f}".replace("-", "−") if _known(value) else UNKNOWN


def _known(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and math.isfinite(value)
