"""What is tuned is chosen for each row on validation data, from runs that are not reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..history import history_of
from .cells import Cell
from .folder import AblationFolder
from .planned import Candidate


@dataclass(frozen=True)
class Trial:
    """A candidate and how its tuning runs ended."""

    candidate: Candidate
    cells: Sequence[Cell]
    validation: float | None
    """The mean over seeds of the best validation mean; None unless all of them finished."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        cells = [cell.name for cell in self.cells]
        values = dict(self.candidate.values)
        return {"values": values, "validation": self.validation, "cells": cells}


@dataclass(frozen=True)
class Choice:
    """What was chosen for a row, and from what."""

    row: str
    trials: Sequence[Trial]

    @property
    def best(self) -> Trial | None:
        """The first of the trials with the best validation; None where none finished."""
        known = [each for each in self.trials if each.validation is not None]
        return max(known, key=lambda each: each.validation or 0.0, default=None)

    @property
    def values(self) -> Mapping[str, str]:
        """What was chosen, by key."""
        return self.best.candidate.values if self.best else {}

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        trials = [each.to_json() for each in self.trials]
        return {"chosen": dict(self.values) or None, "trials": trials}


def trial_of(candidate: Candidate, cells: Sequence[Cell], home: AblationFolder) -> Trial:
    """Return how a candidate did; test scores are not looked at."""
    scores = [_validation(cell, home) for cell in cells]
    known = [score for score in scores if score is not None]
    return Trial(candidate, cells, fmean(known) if len(known) == len(scores) else None)


def _validation(cell: Cell, home: AblationFolder) -> float | None:
    history = history_of(home.run(cell))
    if history.finished is None:
        return None
    return history.validation(cell.plan.recipe.train.keep)
