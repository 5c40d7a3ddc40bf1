"""A softmax over the k experts with the highest logits, for every token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Router, Routing
from mtlora_core.lowrank import linear
from mtlora_core.sites import Site

from .gate import fresh_weight, highest, refuse_unfit, shares
from .options import TopKOptions


class TopK(Router):
    """A bias-free linear map of each token and a softmax over its k highest logits.

    Implements Eqs. 3 and 5 of Shazeer et al., "Outrageously Large Neural Networks: The
    Sparsely-Gated Mixture-of-Experts Layer", https://arxiv.org/abs/1701.06538, without the noise
    of Eq. 4, as routers of LoRA experts have it since MixLoRA, https://arxiv.org/abs/2404.15159.
    Nothing here keeps the experts in use: that is the penalty ``load-balancing``, which reads the
    softmax over all experts. Experts that are not kept have a weight of 0 and are computed all
    the same; at such ranks a dense product is quicker than gathering.
    """

    segmented = True

    def __init__(
        self, options: TopKOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        refuse_unfit(options, experts)
        self.k = options.k
        self.weight = fresh_weight(experts, site.d)  # [e, d]

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return ``[b, t, 1, e]`` weights, 0 but for k; the task is ignored."""
        logits = linear(hidden, self.weight)[:, :, None]
        kept = logits.masked_fill(~highest(logits, self.k), float("-inf"))
        return Routing(shares(kept), "token", dense=shares(logits))
