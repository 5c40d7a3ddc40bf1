"""What a task's adapters add to each module, as low-rank matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..adapters import Adapter, frozen_weight
from ..errors import CompositionError
from ..interfaces import Factors
from ..model import MultiTaskModel
from ..plan import Plan


@dataclass(frozen=True)
class ModuleFactors:
    """The update of one module, which may be several projections fused."""

    name: str
    """Its path in the backbone's module."""
    module: nn.Module
    factors: Factors
    """Over all outputs of the module."""


def require_matrices(plan: Plan) -> None:
    """Raise unless every adapter's update is a matrix for each task.

    Raises:
        CompositionError: a part keeps it from being one, with the reason.
    """
    problems = list(_obstacles(plan))
    if problems:
        raise CompositionError(problems)


def _obstacles(plan: Plan) -> Iterator[str]:
    if any(site.kind == "block" for site in plan.sites):
        yield (
            f"placement {plan.placement.component.name!r} adapts blocks: the path around a block "
            "bypasses what is not linear in it, so no weight can take it up; only adapters at "
            "projections can be exported"
        )
    router = plan.router and plan.router.component
    per = router and router.capabilities.get("per")
    if router and per not in ("model", "task"):
        yield (
            f"router {router.name!r} weighs experts per {per}, from the input, so the update is no "
            "one matrix; only weights per task or model can be exported"
        )
    if not plan.experts.component.capabilities.get("mergeable"):
        yield f"experts {plan.experts.component.name!r} do not declare their update as a matrix"


def depends_on_task(plan: Plan) -> bool:
    """Whether each task has an update of its own."""
    if plan.experts.component.capabilities.get("needs_task"):
        return True
    return plan.router is not None and plan.router.component.capabilities.get("per") == "task"


@torch.no_grad()
def matrices(model: MultiTaskModel, task: int) -> list[ModuleFactors]:
    """Return the update of every adapted module for a task, in eval mode and float32."""
    model.eval()
    by_module: dict[str, list[Adapter]] = {}
    for adapter in model.adapters:
        by_module.setdefault(adapter.site.adds, []).append(adapter)
    return [_module_factors(model, name, own, task) for name, own in by_module.items()]


def _module_factors(
    model: MultiTaskModel, name: str, adapters: Sequence[Adapter], task: int
) -> ModuleFactors:
    module = model.backbone.module.get_submodule(name)
    whole = frozen_weight(module).float()
    parts = [(a, _factors(model, a, whole, task)) for a in adapters]
    if len(parts) == 1 and adapters[0].site.slice is None:
        return ModuleFactors(name, module, parts[0][1])
    return ModuleFactors(name, module, _fused(whole, _outputs(module, whole), parts))


def _factors(model: MultiTaskModel, adapter: Adapter, whole: Tensor, task: int) -> Factors:
    rows = adapter.site.slice or slice(None)
    return adapter.experts.factors(_weights(model, adapter, task), task, whole[rows])


def _weights(model: MultiTaskModel, adapter: Adapter, task: int) -> Tensor | None:
    if adapter.router is None:
        return None
    # Any input will do: these weights depend on none.
    hidden = torch.zeros(1, 1, adapter.site.d, device=model.device)
    context = model.adapters.context
    with context.serving(torch.tensor([task], device=model.device)):
        routing = adapter.router(hidden, context)
    weights: Tensor = routing.weights
    return weights[task] if routing.per == "task" else weights


def _outputs(module: nn.Module, whole: Tensor) -> int:
    """Return how wide a projection's output is, of which a packed weight's shape says nothing."""
    said = (getattr(module, name, None) for name in ("out_features", "nf"))  # nf: Conv1D
    return next((width for width in said if width is not None), len(whole))


def _fused(whole: Tensor, outputs: int, parts: Sequence[tuple[Adapter, Factors]]) -> Factors:
    """Return one update of a module's whole output, of the ranks of its slices together."""
    rank = sum(factors.down.shape[0] for _, factors in parts)
    up = whole.new_zeros(outputs, rank)
    scaled = any(factors.magnitude is not None for _, factors in parts)
    magnitude = torch.linalg.vector_norm(whole, dim=1) if scaled else None
    start = 0
    for adapter, factors in parts:
        rows, end = adapter.site.slice, start + factors.down.shape[0]
        assert rows is not None, "several sites of one module are slices of its output"
        up[rows, start:end] = factors.up
        if magnitude is not None and factors.magnitude is not None:
            magnitude[rows] = factors.magnitude
        start = end
    return Factors(up, torch.cat([factors.down for _, factors in parts]), magnitude)
