"""How a model's routers use its experts, by site and task."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..interfaces import Routing
from .probe import Probe


@dataclass(frozen=True)
class Usage:
    """What routing comes to at one site."""

    site: str
    weights: Tensor
    """``[T, g, e]`` in float64, the mean weights of each task's real tokens; ``g`` groups of
    output dimensions, 1 where weights are not per group."""
    entropies: Tensor
    """``[T]``, the mean entropy of a unit's weights over ``ln e``."""

    @property
    def load(self) -> Tensor:
        """``[T, e]``, each task's mean weight of each expert."""
        return self.weights.mean(1)

    @property
    def entropy(self) -> float:
        """The mean entropy of a unit's weights over ``ln e``; tasks count alike."""
        return float(self.entropies.mean())

    @property
    def load_entropy(self) -> float:
        """The entropy of the mean weights over ``ln e``; tasks count alike."""
        shares = self.load.mean(0)
        shares = shares / shares.sum().clamp(min=1e-12)
        return float(torch.special.entr(shares).sum()) / math.log(max(len(shares), 2))


@torch.inference_mode()
def measure_usage(probe: Probe, examples: int) -> list[Usage]:
    """Return how every site with a router uses its experts.

    Args:
        probe: Whose examples are looked at.
        examples: How many of each task, at most.
    """
    tasks = [_of_task(probe, task, examples) for task in range(len(probe.model.tasks))]
    return [
        Usage(
            site,
            torch.stack([own[site][0] for own in tasks]),
            torch.stack([own[site][1] for own in tasks]),
        )
        for site in tasks[0]
    ]


def _of_task(probe: Probe, task: int, examples: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return by site the mean weights ``[g, e]`` and the mean entropy over a task's tokens."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    tokens = 0
    for batch in probe.of_task(task, examples):
        probe.model(batch.inputs.to(probe.model.device), batch.task_ids)
        tokens += batch.tokens
        for site, whole in probe.model.adapters.context.records.items():
            own = _own(whole, task)
            weights, spread = (
                mean_weights(own) * batch.tokens,
                own.entropy().double() * batch.tokens,
            )
            before = sums.get(site, (torch.zeros_like(weights), torch.zeros_like(spread)))
            sums[site] = before[0] + weights, before[1] + spread
    return {site: (w.cpu() / tokens, e.cpu() / tokens) for site, (w, e) in sums.items()}


def _own(routing: Routing, task: int) -> Routing:
    """Return the routing of a batch of one task; of a table of tasks, the task's entry."""
    if routing.per != "task":
        return routing
    return Routing(routing.weights[task : task + 1], "task")


def mean_weights(routing: Routing) -> Tensor:
    """Return the mean weights over real tokens as ``[g, e]`` in float64."""
    weights = routing.weights.detach().double()
    if routing.per not in ("token", "group"):
        return weights.reshape(-1, weights.shape[-1]).mean(0, keepdim=True)
    if routing.mask is None:
        return weights.mean((0, 1))
    return weights[routing.mask].mean(0)
