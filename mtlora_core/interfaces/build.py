"""What the ``build`` of a component is, by kind. Each takes its own options first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..sites import BackboneShape, Site
from ..tasks import TaskData
from .backbone import Backbone
from .experts import Experts
from .regularizers import GradientTransform, LossWeighting, Penalty
from .routing import Router


class BuildBackbone(Protocol):
    """Builds a backbone: frozen, on the CPU, or without weights on the meta device."""

    def __call__(self, options: Any, *, meta: bool = False) -> Backbone:
        """Return the backbone; ``meta`` asks for shapes only, which needs no weights on disk."""
        ...


class BuildLanguageModel(Protocol):
    """Builds a backbone of a component that declares ``language``."""

    def __call__(self, options: Any, *, meta: bool = False, language: bool = False) -> Backbone:
        """Return the backbone, as :class:`BuildBackbone` does.

        ``language`` asks for a :class:`LanguageModel`; it is passed only where a task is causal.
        """
        ...


class BuildPlacement(Protocol):
    """Chooses the sites. Light: called by ``resolve``, so its module imports no torch."""

    def __call__(self, options: Any, shape: BackboneShape) -> Sequence[Site]:
        """Return the sites.

        Raises:
            CompositionError: the backbone has no such role or layer.
        """
        ...


class BuildExperts(Protocol):
    """Makes the experts of one site. The caller has seeded torch for this site."""

    def __call__(self, options: Any, site: Site, tasks: Sequence[str]) -> Experts:
        """Return freshly initialised experts, whose update is exactly 0."""
        ...


class BuildRouter(Protocol):
    """Makes the router of one site. The caller has seeded torch for this site."""

    def __call__(self, options: Any, site: Site, experts: int, tasks: Sequence[str]) -> Router:
        """Return a freshly initialised router over ``experts`` experts."""
        ...


class BuildPenalty(Protocol):
    """Makes a penalty. Its weight is applied by the model, not by the penalty."""

    def __call__(self, options: Any) -> Penalty:
        """Return the penalty."""
        ...


class BuildTransform(Protocol):
    """Makes a gradient transform. Its scope is applied by the training loop."""

    def __call__(self, options: Any, tasks: Sequence[str], groups: int) -> GradientTransform:
        """Return the transform.

        Args:
            options: The recipe's.
            tasks: The names of all tasks, in the order of their ids.
            groups: How many groups of parameters the scope makes.
        """
        ...


class BuildWeighting(Protocol):
    """Makes a loss weighting."""

    def __call__(self, options: Any, tasks: Sequence[str]) -> LossWeighting:
        """Return the weighting; ``tasks`` are the names of all, in the order of their ids."""
        ...


class BuildTasks(Protocol):
    """Reads the tasks."""

    def __call__(self, options: Any, *, seed: int) -> Sequence[TaskData]:
        """Return the tasks with their examples; the same seed gives the same splits.

        Raises:
            DataError: every problem of the data, with file and line where there is one.
        """
        ...
