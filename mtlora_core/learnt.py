"""Numbers that a regularizer learns, some of them in a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MEMORY = 0.9, 0.999
"""Shares of the gradient's mean, and of its square's, that a step keeps."""


class Learnt(nn.Module):
    """Numbers with a value each, moved by Adam where a step says so.

    Implements Algorithm 1 of Kingma & Ba, "Adam: A Method for Stochastic Optimization",
    https://arxiv.org/abs/1412.6980, with its default decay rates, each number with a count of
    steps of its own: those that a step leaves out, such as those of absent tasks, stay as they
    are, moments and all. In float64, since they are few. All of it is in the ``state_dict``.

    Args:
        start: The values, of any shape.
        rate: The learning rate.
    """

    value: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(self, start: Tensor, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("value", start.double())
        for name in ("mean", "square", "steps"):
            self.register_buffer(name, torch.zeros_like(self.value))

    def descend(self, at: Any, gradient: Tensor) -> None:
        """Move the values ``at`` an index against a gradient of their shape."""
        first, second = MEMORY
        self.steps[at] += 1
        self.mean[at] = first * self.mean[at] + (1 - first) * gradient
        self.square[at] = second * self.square[at] + (1 - second) * gradient.square()
        mean = self.mean[at] / (1 - first ** self.steps[at])
        square = self.square[at] / (1 - second ** self.steps[at])
        self.value[at] -= self.rate * mean / (square.sqrt() + 1e-8)
