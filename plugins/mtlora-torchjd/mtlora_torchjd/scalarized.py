"""A loss weighting of one of TorchJD's scalarizers that remember nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchjd.scalarization import Scalarizer

from mtlora_core.interfaces import LossWeighting, StepLosses

from .draws import drawn_from

SMALLEST = 1e-8
"""What a loss counts as at least: a logarithm needs that, and no smaller one matters."""


class Scalarized(LossWeighting):
    """The derivatives of a scalar of the present tasks' losses, times a factor.

    Args:
        scalarizer: TorchJD's.
        factor: Of the number of tasks that are present: makes equal weights 1.
    """

    def __init__(self, scalarizer: Scalarizer, factor: Callable[[int], int]) -> None:
        super().__init__()
        self.scalarizer, self.factor = scalarizer, factor

    def weights(self, step: StepLosses) -> Tensor:
        """Return each task's weight, ``[n]``."""
        losses = step.losses.clamp(min=SMALLEST).requires_grad_()
        with torch.enable_grad(), drawn_from(step.seed, losses.device):
            (derivatives,) = torch.autograd.grad(self.scalarizer(losses), losses)
        return derivatives * self.factor(len(losses))
