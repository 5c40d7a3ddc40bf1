"""Which of the tasks are learnt: the options under ``subset:``."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from .section import Section


class SubsetOptions(Section):
    """Some of the tasks, drawn by a seed of their own; a smaller draw lies within a larger one."""

    count: PositiveInt
    """How many tasks."""

    seed: NonNegativeInt = 0
    """Which ones. The recipe's own seed does not matter, so that its runs share their tasks."""
