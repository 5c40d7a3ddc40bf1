"""Rows that are resolved: what runs, and what is chosen or solved for before it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..resolve import Plan
from .rows import Row
from .settings import Setting

CLOSE = 0.05
"""How far from the baseline's count a matched row may be before that is worth a warning."""


@dataclass(frozen=True)
class Match:
    """What was solved for, so that a row has as much of something as the baseline."""

    what: str
    """``steps`` or ``adapter parameters``."""
    key: str
    """The key that was solved for."""
    before: int | None
    after: int
    reached: int
    """What the row now has."""
    target: int
    """What the baseline has."""

    @property
    def is_close(self) -> bool:
        """Whether the row has about as much as the baseline."""
        return are_close(self.reached, self.target)


def are_close(count: int, target: int) -> bool:
    """Whether two counts are comparable."""
    return abs(count / target - 1) <= CLOSE


@dataclass(frozen=True)
class Candidate:
    """One choice of what is tuned, for one row."""

    settings: tuple[Setting, ...]
    plan: Plan
    """Of the reported runs."""
    trial: Plan
    """Of the tuning runs, which leave the test split alone and may have fewer steps."""

    @property
    def values(self) -> Mapping[str, str]:
        """The choice, by key."""
        return {each.key: each.shown for each in self.settings}


@dataclass(frozen=True)
class Planned:
    """A row that works."""

    row: Row
    plan: Plan
    match: Match | None = None
    candidates: tuple[Candidate, ...] = ()
    """What is chosen from on validation data; none where nothing is tuned."""

    @property
    def name(self) -> str:
        """What the row is called."""
        return self.row.name


Reasons = tuple[str, ...]
Skipped = tuple[str, Reasons]
"""A row that cannot work, and why."""
