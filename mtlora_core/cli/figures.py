"""Numbers as people read them."""

from __future__ import annotations

UNKNOWN = "–"
"""Stands where there is no number, such as a baseline that a task does not have."""


def score(value: float | None) -> str:
    """Return a metric with three decimals: ``0.712``."""
    return UNKNOWN if value is None else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """Return an interval of a metric: ``[0.690, 0.731]``."""
    return UNKNOWN if low is None or high is None else f"[{score(low)}, {score(high)}]"


def share(part: int, whole: int) -> str:
    """Return a part of a whole in percent, exact enough for a small part: ``0.31 %``."""
    percent = 100 * part / max(whole, 1)
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


def rate(number: float) -> str:
    """Return a rate with its thousands as letters: ``950``, ``8.1k``, ``1.2M``."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{letter}"
    return f"{number:.0f}"


def memory(size: int) -> str:
    """Return a number of bytes with its unit: ``0.4 MB``, ``1.2 GB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def duration(seconds: float | None) -> str:
    """Return a time as a clock has it: ``0:07``, ``1:23``, ``2:03:00``."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 site``, ``1,200 sites``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
