"""Many pairs of factors of rank one, each an expert of its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.lowrank import mix, side_by_side
from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up, low_rank
from .options import RankOneOptions


class RankOne(Experts):
    """Experts of one a and one b each: ``update = alpha · Σ_j w_j b_j a_jᵀ drop(x)``.

    The pool of Zhao et al., "Each Rank Could be an Expert: Single-Ranked Mixture of Experts LoRA
    for Multi-Task Learning" (SMoRA), https://arxiv.org/abs/2501.15103, with its initialisation.
    There the update is ``alpha / k · B (γ ⊙ A x)``, and the gates γ of the k kept ranks sum to k;
    here weights sum to one, so they are γ / k, and k drops out. Even weights make it LoRA of rank
    e. Weights of any unit do. All e products with a are taken and those not kept weighed by 0: a
    dense product is quicker than gathering ranks token by token. The parameters are float32
    whatever the backbone's dtype; the update has their dtype, or autocast's.
    """

    segmented = True

    def __init__(self, options: RankOneOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = options.count
        self.scale = options.alpha
        self.dropout = options.dropout
        self.down = fresh_uniform(options.count, 1, site.d)  # [e, 1, d]
        self.up = fresh_up(site.o, options.count, 1)  # [o, e, 1]

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; needs a routing, of any unit."""
        assert routing is not None, "resolve lets no recipe without a router come here"
        dropout = self.dropout if self.training else 0.0
        low = low_rank(site.hidden, self.down, self.scale, dropout)  # [b, t, e, 1]
        task_ids = site.context.task_ids_for(site.hidden) if routing.per == "task" else None
        return mix(low, self.up, routing, task_ids)

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the weighed experts side by side, of rank ``e``."""
        assert weights is not None, "a router weighs these experts"
        return Factors(side_by_side(self.up, weights), self.scale * self.down.flatten(0, 1))

    @property
    def up_factors(self) -> Tensor:
        """B as ``[o, e, 1]``."""
        return self.up
