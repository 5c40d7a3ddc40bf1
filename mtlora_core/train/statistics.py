"""How routers spread their load, measured over the real tokens of one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from ..adapters import Adapters
from ..interfaces import Router, Routing, StepRouting
from .gradients import sum_over_processes


def entropy(routing: Routing) -> Tensor:
    """Return the mean entropy of a unit's weights over ``ln e``: 1 spreads evenly, 0 picks one.

    Weights that do not sum to one are scaled to; padding is left out, groups count alike.
    """
    weights = routing.weights.detach().float()
    shares = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
    each: Tensor = torch.special.entr(shares).sum(-1) / math.log(max(shares.shape[-1], 2))
    if routing.mask is None or routing.per not in ("token", "group"):
        return each.mean()
    return each[routing.mask].mean()


class RoutingStatistics:
    """Adds up the routing of a step's forwards, site by site.

    Args:
        adapters: The adapters whose context records the routing.
        observed: Whether this step is looked at, the same on every process.
    """

    def __init__(self, adapters: Adapters, observed: bool = True) -> None:
        self.adapters = adapters
        # On every process, also on one that a small step leaves without a forward.
        sites = [a for a in adapters if a.router is not None] if observed else []
        self._sums = {
            a.site.name: torch.zeros(2 * a.experts.count + 2).to(next(a.parameters()).device)
            for a in sites
        }

    def add(self, tokens: int) -> None:
        """Add the last forward, which had ``tokens`` real tokens."""
        if not self._sums:
            return
        for site, routing in self.adapters.context.records.items():
            row = torch.cat(
                [
                    routing.load().detach(),
                    routing.kept(),
                    entropy(routing)[None],
                    torch.ones(1).to(routing.weights.device),
                ]
            )
            self._sums[site] += row * tokens

    def finish(self, accelerator: Accelerator) -> dict[str, StepRouting]:
        """Return what each site's routing came to over all forwards and processes."""
        if not self._sums:
            return {}
        sizes = [row.numel() for row in self._sums.values()]
        total = sum_over_processes(torch.cat([*self._sums.values()]), accelerator)
        rows = zip(self._sums, total.split(sizes), strict=True)
        return {site: _step_routing(row[:-1] / row[-1]) for site, row in rows}


def _step_routing(means: Tensor) -> StepRouting:
    load, kept = means[:-1].chunk(2)
    return StepRouting(load, kept, float(means[-1]))


def teach(adapters: Adapters, statistics: Mapping[str, StepRouting]) -> None:
    """Tell every router what its step's routing came to."""
    for adapter in adapters:
        if adapter.router is not None and adapter.site.name in statistics:
            adapter.router.after_step(statistics[adapter.site.name])


def learns_from_load(adapters: Adapters) -> bool:
    """Whether a router wants the load of every step."""
    return any(
        adapter.router is not None and type(adapter.router).after_step is not Router.after_step
        for adapter in adapters
    )
