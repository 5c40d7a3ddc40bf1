"""Several pairs of low-rank factors, each with a learned scale of its outputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up, low_rank
from .options import MultiLoraOptions


class MultiLora(Experts):
    """Parallel LoRA modules: ``update = alpha / r · Σ_i c_i ⊙ B_i A_i drop(x)``, for all tasks.

    Implements Wang et al., "MultiLoRA: Democratizing LoRA for Better Multi-Task Learning",
    https://arxiv.org/abs/2311.11501: A and B both start uniform, so that the modules differ, and
    the scales c of the output coordinates start at 0, so that the first update is 0. As in the
    copy that MTL-LoRA released, the modules share one dropout mask and the scale alpha / r. The
    parameters are float32 whatever the backbone's dtype; the update has their dtype, or
    autocast's.
    """

    def __init__(self, options: MultiLoraOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = options.count
        self.scale = options.alpha / options.rank
        self.dropout = options.dropout
        self.down = fresh_uniform(options.count, options.rank, site.d)  # [e, r, d]
        self.up = fresh_uniform(site.o, options.count, options.rank)  # [o, e, r]
        self.output_scale = fresh_up(site.o, options.count)  # [o, e]

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; the modules are added up, so routing changes nothing."""
        dropout = self.dropout if self.training else 0.0
        low = low_rank(site.hidden, self.down, self.scale, dropout)  # [b, t, e, r]
        return functional.linear(low.flatten(-2), self.up_factors.flatten(1))

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the modules side by side, of rank ``e · r``."""
        return Factors(self.up_factors.flatten(1), self.scale * self.down.flatten(0, 1))

    @property
    def up_factors(self) -> Tensor:
        """Each module's B with its scale, ``c_i ⊙ B_i``, as ``[o, e, r]``."""
        return self.up * self.output_scale[..., None]
