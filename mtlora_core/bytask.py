"""Runs experts and routers once for each task, on its rows, with its slice of what tasks share.

The way to task gradients that asks nothing of a part but what every part promises: that it treats
the rows of a batch apart. Parts that are built on :mod:`mtlora_core.lowrank` and say so run once
on all rows, and so do those that share nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from .interfaces import Experts, Router, Routing, SiteInput
from .taskaxis import TaskAxis

Routed = Routing | Sequence[Routing]
"""Of all rows at once, or of each task's."""


def route_jointly(router: Router, seen: SiteInput, axis: TaskAxis) -> Routing:
    """Return the routing of all rows by the parameters themselves, as without a task axis."""
    # A view of a parameter has no leaf.
    real = {name: p.view_as(p) for name, p in axis.shared(router).items()}
    return _masked(functional_call(router, real, (seen.hidden, seen.context)), seen)


def route(router: Router, seen: SiteInput, axis: TaskAxis) -> Routed:
    """Return the routing of all rows, or that of every task with rows in this forward."""
    if runs_once(router, axis):
        routing: Routing = router(seen.hidden, seen.context)
        return _masked(routing, seen)

    def one(run: SiteInput, place: int) -> Routing:
        own = axis.slices(router, place)
        return _masked(functional_call(router, own, (run.hidden, run.context)), run)

    return list(_each(one, seen, axis))


def update(experts: Experts, seen: SiteInput, routed: Routed | None, axis: TaskAxis) -> Tensor:
    """Return the update ``[b, t, o]``; ``routed`` is None where the recipe has no router."""
    if runs_once(experts, axis):
        whole = None if routed is None else joined(routed, seen, axis)
        updated: Tensor = experts(seen, whole)
        return updated
    routings = iter([None] * len(axis.tasks) if routed is None else _parted(routed, axis))

    def one(run: SiteInput, place: int) -> Tensor:
        own = axis.slices(experts, place)
        part: Tensor = functional_call(experts, own, (run, next(routings)))
        return part

    return torch.cat([*_each(one, seen, axis)])


def runs_once(module: Experts | Router, axis: TaskAxis) -> bool:
    """Whether a part gives a row a task from one run on all rows."""
    return module.segmented or not axis.shared(module)


def joined(routed: Routed, seen: SiteInput, axis: TaskAxis) -> Routing:
    """Return the routing of all rows; weights of the whole model have become each task's own."""
    if isinstance(routed, Routing):
        return routed
    first = routed[0]
    if first.per not in ("model", "task"):
        return _masked(_with(first, routed, torch.cat), seen)
    own = {axis.tasks[place]: r for (place, _), r in zip(axis.runs(), routed, strict=True)}
    # Nobody reads the rows of tasks that are absent.
    by_task = [own.get(task, first) for task in range(len(seen.context.tasks))]
    if first.per == "model":
        return replace(_with(first, by_task, torch.stack), per="task")
    return _with(first, by_task, lambda each: torch.stack([w[t] for t, w in enumerate(each)]))


def _with(
    like: Routing, parts: Sequence[Routing], together: Callable[[list[Tensor]], Tensor]
) -> Routing:
    """Return a routing whose weights, and what they were chosen from, are put together."""
    weights = together([part.weights for part in parts])
    dense = [part.dense for part in parts if part.dense is not None]
    return replace(like, weights=weights, dense=together(dense) if dense else None)


def _parted(routed: Routed, axis: TaskAxis) -> Sequence[Routing]:
    """Return the routing of each run."""
    if not isinstance(routed, Routing):
        return routed
    runs = axis.runs()
    if routed.per in ("model", "task"):
        return [routed] * len(runs)
    return [
        replace(
            routed,
            **{
                name: value[rows]
                for name in ("weights", "mask", "dense")
                if (value := getattr(routed, name)) is not None
            },
        )
        for _, rows in runs
    ]


def _each(one: Callable[[SiteInput, int], Any], seen: SiteInput, axis: TaskAxis) -> Iterator[Any]:
    """Yield what ``one`` makes of each task's rows; it is served nothing but these."""
    runs = axis.runs()
    # One split, whose gradient is one concatenation; slices would each have one of all rows.
    sizes = [rows.stop - rows.start for _, rows in runs]
    parts = zip(seen.hidden.split(sizes), seen.base_output.split(sizes), strict=True)
    for (place, rows), (hidden, base_output) in zip(runs, parts, strict=True):
        with seen.context.narrowed(rows):
            result = one(replace(seen, hidden=hidden, base_output=base_output), place)
        yield result


def _masked(routing: Routing, seen: SiteInput) -> Routing:
    return replace(routing, mask=seen.context.mask_for(seen.hidden))
