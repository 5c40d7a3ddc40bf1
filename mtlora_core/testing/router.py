"""What every router promises: weights of the declared unit, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..component import Component, load
from ..context import TaskContext
from ..errors import CompositionError
from ..interfaces import Router, Routing
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
    batch_mask,
    batch_task_ids,
    device,
    options_of,
    randomized,
    seeded,
    state_of,
    tiny_site,
)

EXPERTS = 4
Make = Callable[[], Router]


def check_router(
    component: Component, options: Mapping[str, Any] | None = None, site: Site | None = None
) -> None:
    """Assert that a router keeps its contract.

    Its weights have the shape of the unit it declares, are finite, in float32 under autocast
    too, and sum to one if it says so; it says what it chose from exactly if it is sparse; they
    depend neither on other rows nor on padding, nor, declared causal, on other tokens; it asks
    for the task only if it says so; learned, every parameter gets a gradient; what it declares
    ``task_indexed`` is moved by its own task alone; where it says that it is ``segmented``, its
    parameters have a gradient for every task; a forward changes nothing it keeps; the same seed
    makes the same router, and the meta device one of the same shapes.

    Args:
        component: The router's description.
        options: Its options, as a recipe writes them.
        site: Where it routes; None: a projection from 12 to 16.
    """
    site = site or tiny_site()
    make = partial(_make, component, options, site)
    _check_weights(component, make, site)
    _check_independence(make, site)
    _check_declarations(component, make, site)
    _check_causality(component, make, site)
    _check_gradients(make, site)
    _check_task_indexed(make, site)
    _check_segmented(make, site)
    assert_made_of_its_seed(make)


def _make(
    component: Component, options: Mapping[str, Any] | None, site: Site, where: str = ""
) -> Router:
    with seeded(), torch.device(where or device()):
        router = load(component.build)(options_of(component, options), site, EXPERTS, TASKS)
    assert isinstance(router, Router), f"{component.build} returns no Router, but {router!r}"
    return router


def _route(
    router: Router,
    hidden: Tensor,
    ids: Tensor | None = None,
    mask: Tensor | None = None,
    context: TaskContext | None = None,
) -> Routing:
    context = context or TaskContext(TASKS)
    with context.serving(batch_task_ids() if ids is None else ids, mask):
        routing = router(hidden, context)
    assert isinstance(routing, Routing), f"forward returns no Routing, but {routing!r}"
    return routing


def _check_weights(component: Component, make: Make, site: Site) -> None:
    router, hidden = randomized(make()), batch_hidden(site)
    before = state_of(router)
    routing = _route(router, hidden)

    declared = component.capabilities["per"]
    assert routing.per == declared, f"routes per {routing.per}, declared per {declared}"
    _check_shape(routing, site)
    assert routing.weights.isfinite().all(), "weights are not finite"
    if component.capabilities.get("normalized"):
        _check_sums(routing.weights)
    _check_selection(routing, component.capabilities.get("sparse", False))
    assert_same_state(router, before, "forward changes what the router keeps")
    with torch.autocast(device().type, torch.bfloat16):
        under_autocast = _route(router, hidden).weights
    assert under_autocast.dtype == torch.float32, f"under autocast in {under_autocast.dtype}"


def _check_shape(routing: Routing, site: Site) -> None:
    shape = tuple(routing.weights.shape)
    groups = shape[2] if routing.per == "group" and len(shape) == 4 else 1
    expected = {
        "model": (EXPERTS,),
        "task": (len(TASKS), EXPERTS),
        "sequence": (BATCH, EXPERTS),
        "token": (BATCH, TOKENS, 1, EXPERTS),
        "group": (BATCH, TOKENS, groups, EXPERTS),
    }[routing.per]
    assert shape == expected, f"weights per {routing.per} have the shape {shape}, not {expected}"
    assert site.o % groups == 0, f"{groups} groups do not divide the {site.o} outputs"


def _check_sums(weights: Tensor) -> None:
    ones = torch.ones_like(weights[..., 0])
    torch.testing.assert_close(weights.sum(-1), ones, msg="declared normalized, no sum of one")


def _check_selection(routing: Routing, sparse: bool) -> None:
    given = routing.dense is not None
    assert given == sparse, f"declared sparse: {sparse}, yet says what it chose from: {given}"
    if routing.dense is None:
        return
    dense, weights = tuple(routing.dense.shape), tuple(routing.weights.shape)
    assert dense == weights, f"chose from weights of the shape {dense}, gives {weights}"
    _check_sums(routing.dense)
    assert routing.dense.requires_grad, "what it chose from is not in the graph"


def _check_independence(make: Make, site: Site) -> None:
    router, hidden, mask = randomized(make()).eval(), batch_hidden(site), batch_mask()
    whole = _route(router, hidden, mask=mask)
    if whole.per in ("model", "task"):
        return
    alone = _route(router, hidden[:2], batch_task_ids()[:2], mask[:2])
    assert_close(whole.weights[:2], alone.weights, "weights depend on the other rows of a batch")
    padded = hidden.masked_fill(~mask[..., None], 7.0)
    other = _route(router, padded, mask=mask).weights
    if whole.per == "sequence":
        assert_close(whole.weights, other, "weights depend on padding")
    else:
        assert_close(whole.weights[mask], other[mask], "weights depend on padding")


def _check_declarations(component: Component, make: Make, site: Site) -> None:
    router, hidden = make(), batch_hidden(site)
    learned = any(parameter.requires_grad for parameter in router.parameters())
    declared = component.capabilities.get("learned", learned)
    assert learned == declared, f"declared learned: {declared}, yet has parameters: {learned}"
    try:
        router(hidden, TaskContext(TASKS))
        asked = False
    except CompositionError:
        asked = True
    if asked:
        assert component.capabilities.get("needs_task"), "asks for the task without declaring it"


def _check_causality(component: Component, make: Make, site: Site) -> None:
    if not component.capabilities.get("causal"):
        return
    router, hidden = randomized(make()).eval(), batch_hidden(site)
    whole = _route(router, hidden)
    for place in range(TOKENS):
        token = slice(place, place + 1)
        own = whole.weights[:, token] if whole.per in ("token", "group") else whole.weights
        assert_close(
            _route(router, hidden[:, token]).weights,
            own,
            "declared causal, yet weights depend on other tokens than the one they weigh",
        )


def _check_gradients(make: Make, site: Site) -> None:
    router = randomized(make())
    if not any(parameter.requires_grad for parameter in router.parameters()):
        return
    weights = _route(router, batch_hidden(site)).weights
    with seeded(4):
        (weights * torch.randn(weights.shape).to(weights)).sum().backward()
    for name, parameter in router.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"parameter {name} gets no gradient"
        assert gradient.isfinite().all(), f"parameter {name} gets a gradient that is not finite"
        assert gradient.any(), f"parameter {name} gets a gradient of 0"


def _check_task_indexed(make: Make, site: Site) -> None:
    router = randomized(make())
    if not router.task_indexed:
        return
    routing = _route(router, batch_hidden(site), torch.ones_like(batch_task_ids()))
    weights = routing.weights[1] if routing.per == "task" else routing.weights
    weights.square().sum().backward()
    assert_moves_only_its_own(router, task=1)


def _check_segmented(make: Make, site: Site) -> None:
    router, ids = randomized(make()).eval(), batch_task_ids().sort().values
    if router.segmented:
        assert_has_rows(
            router, lambda context: _route(router, batch_hidden(site), ids, context=context).weights
        )
