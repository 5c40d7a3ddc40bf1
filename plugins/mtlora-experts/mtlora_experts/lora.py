"""One pair of low-rank factors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.lowrank import linear
from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up, low_rank
from .options import LoraOptions


class Lora(Experts):
    """Plain LoRA: ``update = alpha / r · B A drop(x)``, shared by all tasks.

    Implements Eq. 3 of Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
    https://arxiv.org/abs/2106.09685, with the initialisation of its code. The parameters are
    float32 whatever the backbone's dtype; the update has their dtype, or autocast's.
    """

    segmented = True

    def __init__(self, options: LoraOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = 1
        self.scale = options.alpha / options.rank
        self.dropout = options.dropout
        self.down = fresh_uniform(options.rank, site.d)  # [r, d]
        self.up = fresh_up(site.o, options.rank)  # [o, r]

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; there is one expert, so routing changes nothing."""
        dropout = self.dropout if self.training else 0.0
        low = low_rank(site.hidden, self.down, self.scale, dropout)
        return linear(low, self.up)

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return B and the scaled A."""
        return Factors(self.up, self.scale * self.down)

    @property
    def up_factors(self) -> Tensor:
        """B as ``[o, 1, r]``."""
        return self.up[:, None, :]
