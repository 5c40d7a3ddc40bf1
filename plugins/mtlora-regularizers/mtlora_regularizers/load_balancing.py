"""Every expert kept by as many tokens as every other."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mtlora_core.interfaces import Experts, Routing

from .options import LoadBalancingOptions


class LoadBalancing:
    """``e · Σ_i f_i P_i``: 1 where a sparse router keeps all experts alike, e where only one.

    Implements Eqs. 4 to 6 of Fedus et al., "Switch Transformers: Scaling to Trillion Parameter
    Models with Simple and Efficient Sparsity", https://arxiv.org/abs/2101.03961, after Lepikhin
    et al. (GShard), https://arxiv.org/abs/2006.16668. ``f_i`` is the share of all choices that
    fell on expert i, with k choices a token (k is 1 there), and has no gradient; ``P_i`` is its
    mean weight before the choice. Padding is left out of both.
    """

    def __init__(self, options: LoadBalancingOptions) -> None:
        """Take the options; the weight is applied by the model."""

    def __call__(self, experts: Experts, routing: Routing | None) -> Tensor:
        """Return the penalty of one site's routing; 0 where no choice was made."""
        if routing is None or routing.dense is None:
            return experts.up_factors.new_zeros(())
        kept = routing.kept()
        chosen = kept / kept.sum().clamp(min=1)  # a real token keeps one or more
        likely = replace(routing, weights=routing.dense).load()
        return len(kept) * (chosen * likely).sum()
