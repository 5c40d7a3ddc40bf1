"""Many small pairs of low-rank factors, mixed by a router."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.lowrank import mix, side_by_side
from mtlora_core.sites import Site

from .factors import fresh_up, low_rank
from .options import MoeOptions


class Moe(Experts):
    """Many A, many B, of rank r / e each: ``update = alpha / r · Σ_e w_e B_e A_e drop(x)``.

    Implements the layer of Liu et al., "When MOE Meets LLMs: Parameter Efficient Fine-tuning for
    Multi-task Medical Applications" (MOELoRA), https://arxiv.org/abs/2310.18339. The experts
    split one LoRA's rank, so they have its parameters and its scale; A starts Gaussian with
    deviation 0.01, as in the released code. Where that drops anew for every expert, here they
    share one mask and one product. Weights of any unit do, not only the paper's per task. The
    parameters are float32 whatever the backbone's dtype; the update has their dtype, or
    autocast's.
    """

    segmented = True

    def __init__(self, options: MoeOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = options.count
        self.scale = options.alpha / options.rank
        self.dropout = options.dropout
        own = options.rank // options.count
        self.down = nn.Parameter(torch.empty(options.count, own, site.d))  # [e, r / e, d]
        nn.init.normal_(self.down, std=0.01)
        self.up = fresh_up(site.o, options.count, own)  # [o, e, r / e]

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; needs a routing, of any unit."""
        assert routing is not None, "resolve lets no recipe without a router come here"
        dropout = self.dropout if self.training else 0.0
        low = low_rank(site.hidden, self.down, self.scale, dropout)  # [b, t, e, r / e]
        task_ids = site.context.task_ids_for(site.hidden) if routing.per == "task" else None
        return mix(low, self.up, routing, task_ids)

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the weighed experts side by side, of rank ``r``."""
        assert weights is not None, "a router weighs these experts"
        return Factors(side_by_side(self.up, weights), self.scale * self.down.flatten(0, 1))

    @property
    def up_factors(self) -> Tensor:
        """B as ``[o, e, r / e]``."""
        return self.up
