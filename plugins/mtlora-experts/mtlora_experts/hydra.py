"""One shared down-projection, many up-projections."""

from __future__ import annotations

from collections.abc import Sequence

from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up
from .mixture import Mixture
from .options import HydraOptions


class Hydra(Mixture):
    """Shared A, many B: ``update = alpha / r · Σ_e w_e B_e A drop(x)``.

    Implements section 3.2 of Tian et al., "HydraLoRA: An Asymmetric LoRA Architecture for
    Efficient Fine-Tuning", https://arxiv.org/abs/2404.19245, and, with weights per group of
    output dimensions, Eq. 3 of mtLoRA, https://arxiv.org/abs/2603.01526. Both released codes
    drop and project anew for every expert of a projection; here the experts share one mask and
    one product with A.
    """

    def __init__(self, options: HydraOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__(
            down=fresh_uniform(options.rank, site.d),
            up=fresh_up(site.o, options.count, options.rank),
            scale=options.alpha / options.rank,
            dropout=options.dropout,
        )
