"""One shared down-projection, many up-projections."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.lowrank import mix, mixed
from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up, low_rank
from .options import HydraOptions


class Hydra(Experts):
    """Shared A, many B: ``update = alpha / r · Σ_e w_e B_e A drop(x)``.

    Implements section 3.2 of Tian et al., "HydraLoRA: An Asymmetric LoRA Architecture for
    Efficient Fine-Tuning", https://arxiv.org/abs/2404.19245, and, with weights per group of
    output dimensions, Eq. 3 of mtLoRA, https://arxiv.org/abs/2603.01526. Both released codes
    drop and project anew for every expert of a projection; here the experts share one mask and
    one product with A. The parameters are float32 whatever the backbone's dtype; the update has
    their dtype, or autocast's.
    """

    segmented = True

    def __init__(self, options: HydraOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = options.count
        self.scale = options.alpha / options.rank
        self.dropout = options.dropout
        self.down = fresh_uniform(options.rank, site.d)  # [r, d]
        self.up = fresh_up(site.o, options.count, options.rank)  # [o, e, r]

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; needs a routing, of any unit."""
        assert routing is not None, "resolve lets no recipe without a router come here"
        dropout = self.dropout if self.training else 0.0
        low = low_rank(site.hidden, self.down, self.scale, dropout)
        task_ids = site.context.task_ids_for(site.hidden) if routing.per == "task" else None
        return mix(low, self.up, routing, task_ids)

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the mixed B and the scaled A."""
        assert weights is not None, "a router weighs these experts"
        return Factors(mixed(self.up, weights), self.scale * self.down)

    @property
    def up_factors(self) -> Tensor:
        """B as ``[o, e, r]``."""
        return self.up
