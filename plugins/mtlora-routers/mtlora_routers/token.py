"""A softmax over the experts for every token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing
from mtlora_core.sites import Site

from .gate import fresh_weight, gate
from .options import TokenOptions


class Token(Router):
    """One bias-free linear map of each token and a softmax over the experts.

    Implements the router of Tian et al., "HydraLoRA: An Asymmetric LoRA Architecture for
    Efficient Fine-Tuning", https://arxiv.org/abs/2404.19245, section 3.2, and that of mtLoRA's
    released code, https://arxiv.org/abs/2603.01526. The text of mtLoRA describes a two-layer MLP
    on mean-pooled hidden states instead; we do not follow it. Pooling over a sequence lets a
    token look ahead, so a decoder would train on what it cannot have when it generates, and the
    parameters that the paper counts are those of this linear map.
    """

    segmented = True

    def __init__(
        self, options: TokenOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.weight = fresh_weight(experts, site.d)  # [e, d]

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[b, t, 1, e]`` weights; the task is ignored."""
        return Routing(gate(hidden, self.weight, 1), "token")
