"""What every kind of experts promises: no update at first, and then the weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..component import Component, Per, load
from ..context import TaskContext
from ..interfaces import Experts, Routing, SiteInput
from ..sites import Site
from .samples import (
    BATCH,
    TASKS,
    TOKENS,
    assert_close,
    assert_has_rows,
    assert_made_of_its_seed,
    assert_moves_only_its_own,
    assert_same_state,
    batch_hidden,
    batch_task_ids,
    constant_routing,
    device,
    options_of,
    randomized,
    seeded,
    state_of,
    tiny_site,
)

Make = Callable[[], Experts]


def check_experts(
    component: Component, options: Mapping[str, Any] | None = None, site: Site | None = None
) -> None:
    """Assert that experts keep their contract.

    Fresh, their update is exactly 0, for every unit that they declare to mix; trained, it is
    finite, depends on the routing but on no other row, and is the same for the same weights
    whatever their unit; declared mergeable, their factors make the same update; ``up_factors`` is
    ``[o, count, r]`` in the graph; every parameter gets a gradient; what they declare
    ``task_indexed`` is moved by its own task alone; where they say that they are ``segmented``,
    their parameters have a gradient for every task; a forward changes nothing they keep; the same
    seed makes the same experts, and the meta device experts of the same shapes.

    Args:
        component: The experts' description.
        options: Their options, as a recipe writes them.
        site: Where they sit; None: a projection from 12 to 16.
    """
    site = site or tiny_site()
    make = partial(_make, component, options, site)
    mixes: tuple[Per, ...] = component.capabilities["mixes"]
    for per in mixes or (None,):
        _check_fresh(make, site, per)
        _check_trained(make, site, per)
        _check_segmented(make, site, per)
    _check_units_agree(make, site, mixes)
    if component.capabilities.get("mergeable") and site.kind == "projection":
        _check_factors(make, site, mixes)
    _check_routing_matters(make, site, mixes)
    _check_up_factors(make, site)
    _check_gradients(make, site, mixes[0] if mixes else None)
    _check_task_indexed(make, site, mixes[0] if mixes else None)
    assert_made_of_its_seed(make)


def _make(
    component: Component, options: Mapping[str, Any] | None, site: Site, where: str = ""
) -> Experts:
    with seeded(), torch.device(where or device()):
        experts = load(component.build)(options_of(component, options), site, TASKS)
    assert isinstance(experts, Experts), f"{component.build} returns no Experts, but {experts!r}"
    return experts


def _update(
    experts: Experts,
    site: Site,
    routing: Routing | None,
    rows: int = BATCH,
    task_ids: Tensor | None = None,
    context: TaskContext | None = None,
) -> Tensor:
    context = context or TaskContext(TASKS)
    task_ids = batch_task_ids() if task_ids is None else task_ids
    with seeded(5):
        base_output = torch.randn(BATCH, TOKENS, site.o).to(device())[:rows]
        weight = torch.randn(site.o, site.d).to(device()) if site.kind == "projection" else None
    seen = SiteInput(batch_hidden(site)[:rows], base_output, weight, context)
    with context.serving(task_ids[:rows]):
        update = experts(seen, routing)
    assert isinstance(update, Tensor), f"forward returns no tensor, but {update!r}"
    return update


def _weights(experts: Experts) -> Tensor:
    """Return weights that sum to one, no two alike, as ``[e]``."""
    return torch.arange(1.0, experts.count + 1, device=device()).softmax(0)


def _routing(experts: Experts, per: Per | None) -> Routing | None:
    return None if per is None else constant_routing(per, _weights(experts))


def _check_fresh(make: Make, site: Site, per: Per | None) -> None:
    experts = make()
    update = _update(experts, site, _routing(experts, per))
    expected = (BATCH, TOKENS, site.o)
    assert tuple(update.shape) == expected, (
        f"the update is {[*update.shape]}, not {[*expected]} (routed per {per})"
    )
    assert not update.any(), f"fresh experts change the output (routed per {per})"


def _check_trained(make: Make, site: Site, per: Per | None) -> None:
    experts = randomized(make()).eval()
    before, routing = state_of(experts), _routing(experts, per)
    update = _update(experts, site, routing)
    assert update.isfinite().all(), f"the update is not finite (routed per {per})"
    assert update.any(), f"the update is 0 whatever the parameters (routed per {per})"
    assert_same_state(experts, before, "forward changes what the experts keep")
    if routing is not None and per not in ("model", "task"):
        routing = Routing(routing.weights[:2], routing.per)
    alone = _update(experts, site, routing, rows=2)
    assert_close(update[:2], alone, f"the update depends on other rows (routed per {per})")
    with torch.autocast(device().type, torch.bfloat16):
        under_autocast = _update(experts, site, _routing(experts, per))
    assert under_autocast.isfinite().all(), f"not finite under autocast (routed per {per})"


def _check_units_agree(make: Make, site: Site, mixes: tuple[Per, ...]) -> None:
    experts = randomized(make()).eval()
    updates = [_update(experts, site, _routing(experts, per)) for per in mixes]
    for per, update in zip(mixes[1:], updates[1:], strict=True):
        assert_close(update, updates[0], f"the same weights per {per} and per {mixes[0]} differ")


def _check_factors(make: Make, site: Site, mixes: tuple[Per, ...]) -> None:
    experts = randomized(make()).eval()
    weights = _weights(experts) if mixes else None
    with seeded(5):
        base_output = torch.randn(BATCH, TOKENS, site.o).to(device())
        weight = torch.randn(site.o, site.d).to(device())
    hidden, context = batch_hidden(site), TaskContext(TASKS)
    routing = constant_routing("model", weights) if weights is not None else None
    for task in range(len(TASKS)):
        with context.serving(torch.full((BATCH,), task, device=device())):
            update = experts(SiteInput(hidden, base_output, weight, context), routing)
        merged = experts.factors(weights, task, weight).merged(weight)
        expected = hidden @ (merged - weight).mT
        assert_close(update, expected, "the update is not that of its factors")


def _check_routing_matters(make: Make, site: Site, mixes: tuple[Per, ...]) -> None:
    experts = randomized(make()).eval()
    if experts.count == 1:
        return
    for per in mixes:
        one, other = (
            constant_routing(per, w) for w in (_weights(experts), _weights(experts).flip(0))
        )
        same = torch.allclose(_update(experts, site, one), _update(experts, site, other))
        assert not same, f"weights per {per} change nothing"


def _check_up_factors(make: Make, site: Site) -> None:
    experts = randomized(make())
    up = experts.up_factors
    assert up.dim() == 3, f"up_factors are {[*up.shape]}, not [o, e, r]"
    expected = (site.o, experts.count)
    assert tuple(up.shape[:2]) == expected, f"up_factors are {[*up.shape]}, not {[*expected, 'r']}"
    up.square().sum().backward()
    reached = any(p.grad is not None and p.grad.any() for p in experts.parameters())
    assert reached, "up_factors are not in the graph: a penalty on them teaches nothing"


def _check_gradients(make: Make, site: Site, per: Per | None) -> None:
    experts = randomized(make())
    update = _update(experts, site, _routing(experts, per))
    with seeded(4):
        (update * torch.randn(update.shape).to(update)).sum().backward()
    for name, parameter in experts.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"parameter {name} gets no gradient"
        assert gradient.isfinite().all(), f"parameter {name} gets a gradient that is not finite"
        assert gradient.any(), f"parameter {name} gets a gradient of 0"


def _check_task_indexed(make: Make, site: Site, per: Per | None) -> None:
    experts = randomized(make())
    ids = torch.ones_like(batch_task_ids())
    _update(experts, site, _routing(experts, per), task_ids=ids).square().sum().backward()
    assert_moves_only_its_own(experts, task=1)


def _check_segmented(make: Make, site: Site, per: Per | None) -> None:
    experts = randomized(make()).eval()
    ids = batch_task_ids().sort().values
    if experts.segmented:
        assert_has_rows(
            experts,
            lambda context: _update(
                experts, site, _routing(experts, per), task_ids=ids, context=context
            ),
        )
