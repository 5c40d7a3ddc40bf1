"""Gradients of a step: summed over processes, and, for a gradient transform, apart by task."""

from __future__ import annotations

from .conflicts import conflicts
from .processes import sum_gradients
from .rows import TaskRows

__all__ = ["TaskRows", "conflicts", "sum_gradients"]
