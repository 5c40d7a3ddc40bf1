"""Many small pairs of low-rank factors, mixed by a router."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mtlora_core.sites import Site

from .factors import fresh_up
from .mixture import Mixture
from .options import MoeOptions


class Moe(Mixture):
    """Many A, many B, of rank r / e each: ``update = alpha / r · Σ_e w_e B_e A_e drop(x)``.

    Implements the layer of Liu et al., "When MOE Meets LLMs: Parameter Efficient Fine-tuning for
    Multi-task Medical Applications" (MOELoRA), https://arxiv.org/abs/2310.18339. The experts
    split one LoRA's rank, so they have its parameters and its scale; A starts Gaussian with
    deviation 0.01, as in the released code. Where that drops anew for every expert, here they
    share one mask and one product. Weights of any unit do, not only the paper's per task.
    """

    def __init__(self, options: MoeOptions, site: Site, tasks: Sequence[str]) -> None:
        own = options.rank // options.count
        down = nn.Parameter(torch.empty(options.count, own, site.d))
        nn.init.normal_(down, std=0.01)
        super().__init__(
            down=down,
            up=fresh_up(site.o, options.count, own),
            scale=options.alpha / options.rank,
            dropout=options.dropout,
        )
