"""What else a run records of its training: the options under ``measure:``."""

from __future__ import annotations

from pydantic import PositiveInt

from .section import Section


class ConflictOptions(Section):
    """How conflicts between the tasks' gradients are measured."""

    every: PositiveInt = 50
    """Steps between measurements. A measured step takes the gradients of all tasks, as under a
    gradient transform, and learns what it would without, up to dropout masks on CUDA."""


class MeasureOptions(Section):
    """What a run records beside its losses; nothing of it changes what is learnt, but for the
    dropout masks that parts run once for each task draw on CUDA."""

    conflicts: ConflictOptions | None = None
    """The cosines between the gradients of every two tasks, and how many are negative; null: not
    measured."""
