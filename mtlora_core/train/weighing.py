"""The weights of the tasks in one step, and what the weighting learns from it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..faults import weights_fault
from ..interfaces import StepLosses
from ..regularizers import TimedWeighting


class Weighing:
    """Weighs the tasks of one step.

    Args:
        weighting: The recipe's; None leaves every task as it is.
        tasks: The ids of the tasks that are present.
        losses: Returns the mean loss of each of them over all forwards and processes; called
            after the last forward, by all processes alike.
        epoch: How many times the examples have been passed through before this step.
        seed: What random weights come from.
    """

    def __init__(
        self,
        weighting: TimedWeighting | None,
        tasks: tuple[int, ...],
        losses: Callable[[], Tensor],
        *,
        epoch: int,
        seed: int,
    ) -> None:
        self.weighting, self.tasks, self.losses = weighting, tasks, losses
        self.epoch, self.seed = epoch, seed
        self._weights: tuple[float, ...] | None = None

    def weights(self) -> tuple[float, ...]:
        """Return the weight of each task's part of the loss.

        Asked for after the first forward, which a process may be without, by all processes alike.
        """
        if self._weights is None:
            self._weights = self._found()
        return self._weights

    def _found(self) -> tuple[float, ...]:
        if self.weighting is None:
            return (1.0,) * len(self.tasks)
        with torch.no_grad():
            step = self._step(known=self.weighting.current)
            with self.weighting.origin.calling("weights()"):
                found = self.weighting.weighting.weights(step)
        fault = weights_fault(found, step, known=self.weighting.current)
        if fault:
            raise self.weighting.origin.broken(f"weights() gave {fault}")
        return tuple(found.tolist())

    def learn(self) -> None:
        """Tell the weighting that the step was taken."""
        if self.weighting is not None:
            with torch.no_grad():
                step = self._step(known=True)
                with self.weighting.origin.calling("after_step()"):
                    self.weighting.weighting.after_step(step)

    def _step(self, *, known: bool) -> StepLosses:
        if known:
            losses = self.losses().cpu().double()
        else:
            losses = torch.full((len(self.tasks),), torch.nan, dtype=torch.float64)
        return StepLosses(self.tasks, losses, self.epoch, self.seed)
