"""Many pairs of factors of rank one, each an expert of its own."""

from __future__ import annotations

from collections.abc import Sequence

from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up
from .mixture import Mixture
from .options import RankOneOptions


class RankOne(Mixture):
    """Experts of one a and one b each: ``update = alpha · Σ_j w_j b_j a_jᵀ drop(x)``.

    The pool of Zhao et al., "Each Rank Could be an Expert: Single-Ranked Mixture of Experts LoRA
    for Multi-Task Learning" (SMoRA), https://arxiv.org/abs/2501.15103, with its initialisation.
    There the update is ``alpha / k · B (γ ⊙ A x)``, and the gates γ of the k kept ranks sum to k;
    here weights sum to one, so they are γ / k, and k drops out. Even weights make it LoRA of rank
    e. All e products with a are taken and those not kept weighed by 0: a dense product is quicker
    than gathering ranks token by token.
    """

    def __init__(self, options: RankOneOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__(
            down=fresh_uniform(options.count, 1, site.d),
            up=fresh_up(site.o, options.count, 1),
            scale=options.alpha,
            dropout=options.dropout,
        )
