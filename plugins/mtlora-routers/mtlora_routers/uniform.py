"""Every expert counts the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing
from mtlora_core.sites import Site

from .options import UniformOptions


class Uniform(Router):
    """Weights of 1/e for every token of every task; nothing is learned.

    The "uniform routing" of Table 1 of mtLoRA, https://arxiv.org/abs/2603.01526, its evidence
    that orthogonality helps only routed experts. Experts that start equal then get equal
    gradients and stay equal for ever: with zero up-projections this is one LoRA in disguise.
    """

    def __init__(
        self, options: UniformOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[e]`` weights, on the device of ``hidden``."""
        return Routing(torch.full((self.experts,), 1 / self.experts, device=hidden.device), "model")
