"""Every expert used as much as every other."""

from __future__ import annotations

from torch import Tensor

from mtlora_core.interfaces import Experts, Routing

from .options import BalanceOptions


class Balance:
    """Squared coefficient of variation of the experts' mean weights, 0 where all are used alike.

    ``Var(p) / (mean(p)² + 1e-10)``, the unbiased variance over experts, ``p_e`` the mean weight
    of expert e over tokens and groups: the load-balancing loss of mtLoRA's released code,
    https://arxiv.org/abs/2603.01526, after Shazeer et al., https://arxiv.org/abs/1701.06538.

    Where we depart: padding is left out, and the penalty has a gradient. The released runs use
    re-entrant checkpointing, under which theirs is a constant.
    """

    def __init__(self, options: BalanceOptions) -> None:
        """Take the options; the weight is applied by the model."""

    def __call__(self, experts: Experts, routing: Routing | None) -> Tensor:
        """Return the penalty of one site's routing; 0 without a router or with one expert."""
        if routing is None or routing.weights.shape[-1] == 1:
            return experts.up_factors.new_zeros(())
        load = routing.load()
        return load.var() / (load.mean().square() + 1e-10)
