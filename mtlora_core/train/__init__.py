"""Training: sampling, the step, the loop, evaluation and checkpoints."""

from __future__ import annotations

from .loop import fit

__all__ = ["fit"]
