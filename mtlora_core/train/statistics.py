"""How routers spread their load, measured over the real tokens of one optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..adapters import Adapters
from ..interfaces import StepRouting
from .engine import Engine


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
            a.site.name: torch.zeros(2 * a.experts.count + 2, device=next(a.parameters()).device)
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
                    routing.entropy()[None],
                    torch.ones(1, device=routing.weights.device),
                ]
            )
            self._sums[site] += row * tokens

    def finish(self, engine: Engine) -> dict[str, StepRouting]:
        """Return what each site's routing came to over all forwards and processes, on the CPU."""
        if not self._sums:
            return {}
        sizes = [row.numel() for row in self._sums.values()]
        # Brought to the CPU once, for all sites.
        total = engine.sum(torch.cat([*self._sums.values()])).cpu()
        rows = zip(self._sums, total.split(sizes), strict=True)
        return {site: _step_routing(row[:-1] / row[-1]) for site, row in rows}


def _step_routing(means: Tensor) -> StepRouting:
    load, kept = means[:-1].chunk(2)
    return StepRouting(load, kept, float(means[-1]))


def teach(adapters: Adapters, statistics: Mapping[str, StepRouting]) -> None:
    """Tell every router that learns from it what its step's routing came to, on its device."""
    learners = {
        adapter.site.name: router
        for adapter, router in adapters.learners()
        if adapter.site.name in statistics
    }
    if not learners:
        return
    found = [statistics[site] for site in learners]
    # Back to the device once, for all sites.
    rows = torch.cat([torch.cat([each.load, each.kept]) for each in found])
    rows = rows.to(next(adapters.parameters()).device)
    parts = rows.split([2 * len(each.load) for each in found])
    for router, each, part in zip(learners.values(), found, parts, strict=True):
        load, kept = part.chunk(2)
        router.after_step(replace(each, load=load, kept=kept))


def learns_from_load(adapters: Adapters) -> bool:
    """Whether a router wants the load of every step."""
    return any(adapters.learners())
