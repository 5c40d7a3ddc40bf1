"""Sigmoid weights of the top k experts of every token, balanced by a bias."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing, StepRouting
from mtlora_core.lowrank import linear
from mtlora_core.sites import Site

from .gate import fresh_weight, highest, refuse_unfit
from .options import RankTopKOptions

LEAST = 1e-6
"""What a score counts at least: logits or biases may push every kept one to 0 and below."""


class RankTopK(Router):
    """The k highest ``z + b`` of a token, over their sum: ``z = sigmoid(W x)``, b a bias.

    Implements the router of Zhao et al., "Each Rank Could be an Expert: Single-Ranked Mixture of
    Experts LoRA for Multi-Task Learning" (SMoRA), https://arxiv.org/abs/2501.15103, for its pool
    of ``rank-one`` experts. With ``partition`` ρ, W has e / ρ rows, and each row's score is that
    of ρ experts. No gradient moves b. After each step it goes up by ``rate`` where fewer tokens
    than the mean keep an expert, and down where more do. The weights sum to one; the released
    code's sum to k and its scale is divided by k.

    In the released code b enters the weights as well as the choice, so the default does too;
    loss-free balancing elsewhere, https://arxiv.org/abs/2408.15664, lets b choose only
    (``bias_in_weights: false``). Where we depart from that code: it changes b in every training
    forward, from that forward's tokens and padding; here once a step, from the real tokens of all
    forwards and processes, so that neither accumulation nor recomputation changes the result. It
    routes on dropped inputs; here only the experts' input is dropped.
    """

    segmented = True
    bias: Tensor

    def __init__(
        self, options: RankTopKOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        refuse_unfit(options, experts)
        self.k = options.k
        self.partition = options.partition
        self.rate = options.rate
        self.bias_in_weights = options.bias_in_weights
        self.weight = fresh_weight(experts // options.partition, site.d)  # [e / ρ, d]
        self.register_buffer("bias", torch.zeros(experts))  # [e]

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[b, t, 1, e]`` weights, 0 but for k; the task is ignored."""
        scores = self._scores(hidden)
        biased = scores + self.bias
        chosen = highest(biased, self.k)
        weights = _normalized(biased if self.bias_in_weights else scores, chosen)
        return Routing(weights, "token", dense=_normalized(scores))

    def after_step(self, routing: StepRouting) -> None:
        """Move the bias towards experts that fewer tokens keep."""
        self.bias += self.rate * (routing.kept.mean() - routing.kept).sign()

    def _scores(self, hidden: Tensor) -> Tensor:
        """Return z as ``[b, t, 1, e]``, in float32 or wider."""
        logits = linear(hidden, self.weight)[:, :, None]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return wide.sigmoid().repeat_interleave(self.partition, dim=-1)


def _normalized(scores: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Return each chosen score over their sum, 0 where not chosen; None chooses all."""
    counted = scores.clamp(min=LEAST)
    kept = counted if chosen is None else counted * chosen
    return kept / kept.sum(-1, keepdim=True)
