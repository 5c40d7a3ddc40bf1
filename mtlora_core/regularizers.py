"""The regularizers of a recipe, as a model carries them."""

from __future__ import annotations

from dataclasses import dataclass

from .interfaces import GradientTransform, LossWeighting, Penalty
from .options import Scope
from .origin import Origin


@dataclass(frozen=True)
class Regularizer:
    """A regularizer of the recipe."""

    origin: Origin
    """What says what is wrong with the part."""

    @property
    def name(self) -> str:
        """The part's name."""
        return self.origin.name


@dataclass(frozen=True)
class WeightedPenalty(Regularizer):
    """A penalty of the recipe."""

    weight: float
    penalty: Penalty
    reads_routing: bool = False


@dataclass(frozen=True)
class ScopedTransform(Regularizer):
    """The gradient transform of the recipe."""

    scope: Scope
    transform: GradientTransform


@dataclass(frozen=True)
class TimedWeighting(Regularizer):
    """The loss weighting of the recipe."""

    current: bool
    """Whether it reads the losses of the step that it weighs."""
    weighting: LossWeighting
