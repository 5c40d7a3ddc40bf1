"""Groups of parameters over which a task's gradient is one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from .adapters import Adapter, Adapters
from .options import Scope
from .taskaxis import shared_parameters

Group = tuple[nn.Parameter, ...]
"""Parameters over which a task's gradient is one vector."""


def shared_modules(
    adapters: Adapters | Sequence[Adapter],
) -> dict[nn.Module, Mapping[str, nn.Parameter]]:
    """Return experts and routers, each with the parameters that tasks share, by name."""
    return {
        module: shared_parameters(module, module.task_indexed)
        for adapter in adapters
        for module in (adapter.experts, adapter.router)
        if module is not None
    }


def grouped(adapters: Adapters | Sequence[Adapter], scope: Scope) -> list[Group]:
    """Return the shared parameters of all sites, in the groups that ``scope`` makes of them."""
    layers: dict[nn.Parameter, int] = {}
    for adapter in adapters:
        for parameter in adapter.parameters():
            layers.setdefault(parameter, adapter.site.layer)
    groups: dict[object, list[nn.Parameter]] = {}
    shared = (p for own in shared_modules(adapters).values() for p in own.values())
    for parameter in dict.fromkeys(shared):
        keys = {"per-matrix": parameter, "per-layer": layers[parameter], "global": None}
        groups.setdefault(keys[scope], []).append(parameter)
    return [tuple(group) for group in groups.values()]


def count_shared(adapters: Adapters | Sequence[Adapter]) -> int:
    """Return over how many parameters a task has a gradient of its own."""
    return sum(p.numel() for group in grouped(adapters, "global") for p in group)
