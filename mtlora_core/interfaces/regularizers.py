"""What keeps tasks from hurting each other: penalties, gradient transforms, loss weightings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .experts import Experts
from .routing import Routing


@runtime_checkable
class Penalty(Protocol):
    """Turns the experts of one site and this step's routing into a penalty. A function will do."""

    def __call__(self, experts: Experts, routing: Routing | None) -> Tensor:
        """Return a scalar in the graph, 0 where there is nothing to penalize."""
        ...


@dataclass(frozen=True)
class TaskGradients:
    """The task gradients of one step, for some of the groups of parameters that a scope makes.

    Row t is the gradient of task t's share of the loss; the rows add up to the joint gradient.
    """

    groups: Sequence[Sequence[Tensor]]
    """M groups; a group's parameters in order, each as ``[T, p]``."""
    task_ids: tuple[int, ...]
    """The T tasks that have examples in the step, row by row."""
    seed: int
    """The same for all groups and processes, another every step: seed generators with this."""
    losses: Tensor
    """``[T]``, the mean loss of each of these tasks in the step, over forwards and processes."""
    indices: Sequence[int]
    """Which of all groups of the scope each of these M is, for what is remembered of it."""
    given: list[Tensor] = field(default_factory=list, init=False)
    """The weights, ``[M, T]``, that :meth:`weighted` was called with, for the step's record."""

    @cached_property
    def products(self) -> Sequence[Tensor]:
        """The products of every two rows of each parameter: for n in a group ``[n, T, T]``."""
        return [torch.stack([g @ g.T for g in group]) for group in self.groups]

    @cached_property
    def gramians(self) -> Tensor:
        """The products of every two rows of each group, as ``[M, T, T]``."""
        return torch.stack([own.sum(0) for own in self.products])

    def matrices(self) -> list[Tensor]:
        """Return each group's rows as ``[T, P]``."""
        return [group[0] if len(group) == 1 else torch.cat([*group], 1) for group in self.groups]

    def weighted(self, weights: Tensor) -> list[Tensor]:
        """Return each group's weighted sum of rows as ``[P]``; ``weights`` is ``[M, T]``.

        The step's record has the mean over all groups as ``gradient_weights``.
        """
        self.given.append(weights)
        return [
            torch.cat([own.to(g.dtype) @ g for g in group])
            for own, group in zip(weights, self.groups, strict=True)
        ]


@runtime_checkable
class GradientTransform(Protocol):
    """Makes one gradient of the tasks' gradients. A function will do.

    A function of its input alone, so that a resumed run and every process do the same. One that
    remembers earlier steps is an :class:`torch.nn.Module` too, whose ``state_dict`` holds all that
    it remembers, by group and by task, in tensors on the CPU whose shapes never change; a step
    teaches nothing of groups and tasks that it does not have. The state is saved with a checkpoint,
    not with the adapters. A step that is not taken, since its gradient is not finite, is undone.
    """

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the gradient of each group as ``[P]``, without changing the rows.

        Called several times a step where that saves memory, each time with other groups.
        """
        ...


@dataclass(frozen=True)
class StepLosses:
    """The tasks of one step and their losses, as a weighting sees them."""

    task_ids: tuple[int, ...]
    """The n tasks that have examples in the step, ascending."""
    losses: Tensor
    """``[n]`` in float64 on the CPU, each one's mean loss in the step, unweighted, over forwards
    and processes. NaN where the forward is still to come: in :meth:`LossWeighting.weights`, unless
    the component declares ``weighs_losses: current``."""
    epoch: int
    """How many times the examples have been passed through before this step."""
    seed: int
    """The same on all processes, another every step: seed generators with this."""


class LossWeighting(nn.Module, ABC):
    """Weighs the tasks' losses before the one backward pass of a step.

    All that it remembers is in its ``state_dict``, by task, in tensors on the CPU whose shapes
    never change; a step teaches nothing of tasks that it does not have. The state is saved with a
    checkpoint, not with the adapters. A step that is not taken, since its gradient is not finite,
    is undone.
    """

    @abstractmethod
    def weights(self, step: StepLosses) -> Tensor:
        """Return what each task's part of the step's loss is multiplied by, ``[n]``; called once.

        1 leaves a task as in joint training, so weights of a mean are multiplied by n. The parts
        are those that ``loss.average`` and the tasks' own ``weight`` make.
        """

    def after_step(self, step: StepLosses) -> None:
        """Learn from a step that was taken, whose losses are known now."""
