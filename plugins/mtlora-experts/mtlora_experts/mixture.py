"""Experts that a router mixes, whatever they share."""

from __future__ import annotations

from torch import Tensor, nn

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.lowrank import mix, mixed, side_by_side

from .factors import low_rank


class Mixture(Experts):
    """``update = scale · Σ_e w_e B_e A_e drop(x)``, with one A for all experts or one for each.

    Weights of any unit do. The experts share one dropout mask and one product with A. The
    parameters are float32 whatever the backbone's dtype; the update has their dtype, or
    autocast's.

    Args:
        down: A, ``[r, d]`` where the experts share one, ``[e, r, d]`` where each has its own.
        up: B, ``[o, e, r]``.
        scale: Factor of the update.
        dropout: Probability of dropping a coordinate of the input.
    """

    segmented = True

    def __init__(
        self, down: nn.Parameter, up: nn.Parameter, *, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.count = up.shape[1]
        self.scale = scale
        self.dropout = dropout
        self.down = down
        self.up = up

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; needs a routing, of any unit."""
        assert routing is not None, "resolve lets no recipe without a router come here"
        task_ids = site.context.task_ids_for(site.hidden) if routing.per == "task" else None
        return mix(self.low(site), self.up, routing, task_ids)

    def low(self, site: SiteInput) -> Tensor:
        """Return ``scale · A drop(x)``, ``[b, t, r]`` or ``[b, t, e, r]``."""
        dropout = self.dropout if self.training else 0.0
        return low_rank(site.hidden, self.down, self.scale, dropout)

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the mixed B and the scaled A, or the weighed experts side by side."""
        assert weights is not None, "a router weighs these experts"
        if self.down.dim() == 2:
            return Factors(mixed(self.up, weights), self.scale * self.down)
        return Factors(side_by_side(self.up, weights), self.scale * self.down.flatten(0, 1))

    @property
    def up_factors(self) -> Tensor:
        """B as ``[o, e, r]``."""
        return self.up
