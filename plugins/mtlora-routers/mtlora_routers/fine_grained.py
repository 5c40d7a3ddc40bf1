"""A softmax over the experts for every token and every group of output dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing
from mtlora_core.sites import Site

from .gate import fresh_weight, gate
from .options import FineGrainedOptions


class FineGrained(Router):
    """Weights of its own for each group of output dimensions of each token.

    Implements Eq. 3 of mtLoRA, "Scalable Multi-Task Low-Rank Model Adaptation",
    https://arxiv.org/abs/2603.01526. The logits are a bias-free linear map of the token, as in
    its released code, not the pooled MLP of its text, which looks ahead; see
    :class:`~mtlora_routers.token.Token`. With one group this is that router.
    """

    segmented = True

    def __init__(
        self, options: FineGrainedOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.groups = options.groups
        self.weight = fresh_weight(options.groups * experts, site.d)  # [g * e, d]

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[b, t, g, e]`` weights; the task is ignored."""
        return Routing(gate(hidden, self.weight, self.groups), "group")
