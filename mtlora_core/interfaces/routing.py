"""How much of each expert: what routers give, and routers."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..component import Per
from ..context import TaskContext
from .task_aware import TaskAware


@dataclass(frozen=True)
class Routing:
    """How much of each expert, for which unit.

    ``weights`` is ``[e]`` per model, ``[T, e]`` per task, ``[b, e]`` per sequence,
    ``[b, t, 1, e]`` per token and ``[b, t, g, e]`` per group of output dimensions; output
    coordinate ``c`` of ``o`` belongs to group ``c * g // o``.
    """

    weights: Tensor
    per: Per
    mask: Tensor | None = None
    """``[b, t]``, true for real tokens; filled in by the model, None where all are real."""
    dense: Tensor | None = None
    """What a sparse router chose from: the weights, of the same shape and summing to one, that it
    would give if it kept every expert. None where ``weights`` keep them all."""

    def load(self) -> Tensor:
        """Return the mean weight of each expert over real tokens (and groups) as ``[e]``.

        Stays in the graph. Per task, every task counts once.
        """
        if self.per in ("token", "group"):
            per_token = self.weights.float().mean(2)  # [b, t, e]
            if self.mask is None:
                return per_token.mean((0, 1))
            real = self.mask.to(per_token.dtype)
            return torch.einsum("bte,bt->e", per_token, real) / real.sum().clamp(min=1)
        return self.weights.float().reshape(-1, self.weights.shape[-1]).mean(0)

    def kept(self) -> Tensor:
        """Return the share of real tokens (and groups) that keep each expert, as ``[e]``.

        All ones unless the router is sparse. No gradient.
        """
        kept = (self.weights.detach() != 0).float()
        return Routing(kept, self.per, self.mask).load()

    def entropy(self) -> Tensor:
        """Return the mean entropy of a unit's weights over ``ln e``: 1 spreads evenly, 0 picks one.

        Weights that do not sum to one are scaled to; padding is left out, groups count alike. No
        gradient.
        """
        weights = self.weights.detach().float()
        shares = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
        each: Tensor = torch.special.entr(shares).sum(-1) / math.log(max(shares.shape[-1], 2))
        if self.mask is None or self.per not in ("token", "group"):
            return each.mean()
        # Not by indexing, which would wait for the device to say how many tokens are real.
        real = self.mask.to(each.dtype)
        return (each.mean(2) * real).sum() / real.sum().clamp(min=1)


@dataclass(frozen=True)
class StepRouting:
    """What the routing of one site came to in one optimizer step, over all processes."""

    load: Tensor
    """``[e]``, mean weight of each expert over the step's real tokens."""
    kept: Tensor
    """``[e]``, share of the step's real tokens that keep each expert; see :meth:`Routing.kept`."""
    entropy: float
    """Mean entropy of a unit's weights over ``ln e``."""


class Router(TaskAware):
    """Weighs the experts of one site."""

    @abstractmethod
    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return the experts' weights for ``hidden`` ``[b, t, d]``, per the declared unit.

        Must not change buffers: under activation checkpointing it runs twice.
        """

    def after_step(self, routing: StepRouting) -> None:
        """Learn from a finished optimizer step: the only place where buffers may change.

        In a loop of the user's own the step is the last forward; see ``Adapters.after_step``.

        What ``routing`` holds is on the router's device.
        """
