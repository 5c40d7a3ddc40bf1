"""How often the gradients of two tasks point against each other, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..groups import grouped, shared_modules
from ..model import MultiTaskModel
from ..seeds import derive
from ..taskaxis import TaskAxis
from ..train.corpus import Batch
from ..train.objectives import example_losses
from .probe import Probe

RESAMPLES = 1000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Conflict:
    """Two tasks in one layer."""

    layer: int
    tasks: tuple[str, str]
    cosine: float
    """The mean over draws."""
    rate: float
    """The share of draws with a negative cosine."""
    low: float
    high: float
    """Ends of the 95 % bootstrap interval of the rate, over draws."""
    draws: int


def measure_conflicts(probe: Probe, draws: int, examples: int) -> list[Conflict]:
    """Return the conflict of every pair of tasks in every layer.

    A draw is a batch with ``examples`` of each task; one backward pass gives the gradient of
    each task's mean loss in every parameter that tasks share. A layer's gradient is that of all
    its shared adapter parameters, flattened. Dropout is off.

    Args:
        probe: Whose examples are drawn.
        draws: How many batches.
        examples: Of each task in a batch.
    """
    layers = _layers(probe.model)
    if not layers or len(probe.model.tasks) < 2:
        return []
    found = np.stack([_cosines(probe, probe.of_all(examples, d)) for d in range(draws)])
    names = [task.name for task in probe.model.tasks]
    return [
        conflict
        for place, layer in enumerate(layers)
        for s, t in combinations(range(len(names)), 2)
        for conflict in _conflict(layer, (names[s], names[t]), found[:, place, s, t], probe.seed)
    ]


def _layers(model: MultiTaskModel) -> list[int]:
    """Return the layer of each group of :func:`grouped` by layers."""
    where = {p: a.site.layer for a in reversed([*model.adapters]) for p in a.parameters()}
    return [where[group[0]] for group in grouped(model.adapters, "per-layer")]


def _cosines(probe: Probe, batch: Batch) -> NDArray[np.float64]:
    """Return the cosines of one draw as ``[layers, T, T]``; NaN where a gradient is 0."""
    model = probe.model
    axis = TaskAxis(model.adapters.context, range(len(model.tasks)), shared_modules(model.adapters))
    with axis.carried():
        _loss(model, batch).backward()
    model.zero_grad(set_to_none=True)
    layers = []
    for group in grouped(model.adapters, "per-layer"):
        rows = [own for p in group if (own := axis.leaves[p].tensor.grad) is not None]
        layers.append(_cosines_of(rows, len(model.tasks)))
    return torch.stack(layers).cpu().numpy()


def _loss(model: MultiTaskModel, batch: Batch) -> Tensor:
    """Return the sum over tasks of their mean losses."""
    tasks = {task.name: task for task in model.tasks}
    labels = batch.labels.float().to(model.device)
    outputs = model(batch.inputs.to(model.device), batch.task_ids)
    losses = [
        example_losses(tasks[name], own.outputs, labels[own.rows]).mean()
        for name, own in outputs.items()
    ]
    return torch.stack(losses).sum()


def _cosines_of(rows: list[Tensor], tasks: int) -> Tensor:
    if not rows:
        return torch.full((tasks, tasks), torch.nan, dtype=torch.float64)
    flat = torch.cat([own.flatten(1).double() for own in rows], dim=1)
    gram = flat @ flat.T
    sizes = gram.diagonal().sqrt()
    return gram / (sizes[:, None] * sizes)  # 0 / 0 is NaN, as said


def _conflict(
    layer: int, tasks: tuple[str, str], cosines: NDArray[np.float64], seed: int
) -> Iterator[Conflict]:
    """Yield a pair's conflict, unless no draw gave both tasks a gradient."""
    known = cosines[np.isfinite(cosines)]
    if not len(known):
        return
    negative = known < 0
    generator = np.random.default_rng(derive(seed, "bootstrap", layer, *tasks))
    # A resample's number of negative draws is binomial, so none has to be made.
    counts = generator.binomial(len(known), negative.mean(), RESAMPLES)
    low, high = np.quantile(counts / len(known), (0.025, 0.975))
    ends = float(negative.mean()), float(low), float(high)
    yield Conflict(layer, tasks, float(known.mean()), *ends, len(known))
