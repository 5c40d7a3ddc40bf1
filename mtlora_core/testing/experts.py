"""What every kind of experts promises: no update at first, then one by each unit's own weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..component import Component, Per, load
from ..context import TaskContext
from ..errors import CompositionError
from ..interfaces import Experts, Routing, SiteInput
from ..sites import Site
from .samples import (
    BATCH,
    GROUPS,
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
    constant_routing,
    device,
    options_of,
    randomized,
    seeded,
    state_of,
    tiny_site,
    varied_routing,
)

WEIGHTS = 7
"""Kinds of weights that the units of a routing have in turn: so many that neighbours differ."""
ALL = slice(None)


def check_experts(
    component: Component, options: Mapping[str, Any] | None = None, site: Site | None = None
) -> None:
    """Assert that experts keep their contract.

    Fresh, their update is exactly 0, for every unit that they declare to mix; trained, it is
    finite, and what a unit gets depends on its own weights, the same for the same weights whatever
    their unit; it depends on no other row and on no other token; the task and the base weight are
    asked for only where that is declared; declared mergeable, their factors make the same update;
    ``up_factors`` is ``[o, count, r]`` in the graph; every parameter gets a gradient; what they
    declare ``task_indexed`` is moved by its own task alone; where they say that they are
    ``segmented``, their parameters have a gradient for every task; a forward changes nothing they
    keep; the same seed makes the same experts, and the meta device experts of the same shapes.

    Args:
        component: The experts' description.
        options: Their options, as a recipe writes them.
        site: Where they sit; None: a projection from 12 to 16.
    """
    subject = _Subject(component, options, site or tiny_site())
    _check_declarations(subject)
    for per in subject.units:
        _check_fresh(subject, per)
        _check_trained(subject, per)
        _check_tokens(subject, per)
        _check_segmented(subject, per)
    for per in subject.mixes:
        _check_own_weights(subject, per)
        _check_routing_matters(subject, per)
    _check_units_agree(subject)
    if component.capabilities.get("mergeable") and subject.site.kind == "projection":
        _check_factors(subject)
    _check_up_factors(subject)
    _check_gradients(subject)
    _check_task_indexed(subject)
    assert_made_of_its_seed(subject.make)


@dataclass(frozen=True)
class _Subject:
    """Who is checked, and where they sit."""

    component: Component
    options: Mapping[str, Any] | None
    site: Site

    @property
    def mixes(self) -> tuple[Per, ...]:
        return tuple(self.component.capabilities.get("mixes", ()))

    @property
    def units(self) -> tuple[Per | None, ...]:
        return self.mixes or (None,)

    def declares(self, name: str) -> bool:
        return bool(self.component.capabilities.get(name))

    def make(self, where: str = "") -> Experts:
        build = load(self.component.build)
        with seeded(), torch.device(where or device()):
            experts = build(options_of(self.component, self.options), self.site, TASKS)
        assert isinstance(experts, Experts), (
            f"{self.component.build} returns no Experts, but {experts!r}"
        )
        return experts

    def trained(self) -> Experts:
        return randomized(self.make()).eval()

    def weight(self) -> Tensor:
        with seeded(6):
            return torch.randn(self.site.o, self.site.d).to(device())

    def seen(self, context: TaskContext | None = None) -> SiteInput:
        """Return what they see: of the base weight, as in a run, only where they ask for it."""
        with seeded(5):
            base_output = torch.randn(BATCH, TOKENS, self.site.o).to(device())
        weight = self.weight() if self.declares("needs_base") else None
        return SiteInput(
            batch_hidden(self.site), base_output, weight, context or TaskContext(TASKS)
        )


def _update(
    experts: Experts,
    seen: SiteInput,
    routing: Routing | None,
    task_ids: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    with seen.context.serving(batch_task_ids() if task_ids is None else task_ids, mask):
        update = experts(seen, routing)
    assert isinstance(update, Tensor), f"forward returns no tensor, but {update!r}"
    return update


def _update_alone(
    experts: Experts,
    seen: SiteInput,
    routing: Routing | None,
    rows: slice = ALL,
    tokens: slice = ALL,
) -> Tensor:
    """Return the update of some rows and tokens that are run without the others."""
    if routing is not None and routing.per not in ("model", "task"):
        weights = routing.weights[rows]
        own = weights if routing.per == "sequence" else weights[:, tokens]
        routing = Routing(own, routing.per)
    hidden, base_output = (each[rows, tokens] for each in (seen.hidden, seen.base_output))
    part = replace(seen, hidden=hidden, base_output=base_output)
    return _update(experts, part, routing, batch_task_ids()[rows])


def _weights(experts: Experts) -> Tensor:
    """Return weights that sum to one, no two alike, as ``[e]``."""
    return torch.arange(1.0, experts.count + 1, device=device()).softmax(0)


def _several_weights(experts: Experts) -> Tensor:
    """Return several of them as ``[WEIGHTS, e]``."""
    with seeded(8):
        return torch.randn(WEIGHTS, experts.count).to(device()).softmax(1)


def _routing(experts: Experts, per: Per | None) -> Routing | None:
    return None if per is None else varied_routing(per, _several_weights(experts))


def _check_declarations(subject: _Subject) -> None:
    unit = next((per for per in subject.units if per != "task"), subject.units[0])
    experts, seen = subject.make(), subject.seen()
    routing = _routing(experts, unit)
    if not subject.declares("needs_base"):
        try:
            _update(experts, seen, routing)
        except Exception as error:
            _update(experts, replace(seen, base_weight=subject.weight()), routing)
            raise AssertionError("asks for the base weight without declaring needs_base") from error
    # To mix weights per task takes the task of each row: then it is the router who asks.
    if not subject.declares("needs_task") and unit != "task":
        try:
            experts(subject.seen(), routing)
        except CompositionError as error:
            raise AssertionError("asks for the task without declaring needs_task") from error


def _check_fresh(subject: _Subject, per: Per | None) -> None:
    experts = subject.make()
    update = _update(experts, subject.seen(), _routing(experts, per))
    expected = (BATCH, TOKENS, subject.site.o)
    assert tuple(update.shape) == expected, (
        f"the update is {[*update.shape]}, not {[*expected]} (routed per {per})"
    )
    assert not update.any(), f"fresh experts change the output (routed per {per})"


def _check_trained(subject: _Subject, per: Per | None) -> None:
    experts, seen = subject.trained(), subject.seen()
    before, routing = state_of(experts), _routing(experts, per)
    update = _update(experts, seen, routing)
    assert update.isfinite().all(), f"the update is not finite (routed per {per})"
    assert update.any(), f"the update is 0 whatever the parameters (routed per {per})"
    assert_same_state(experts, before, "forward changes what the experts keep")
    alone = _update_alone(experts, seen, routing, rows=slice(2))
    assert_close(update[:2], alone, f"the update depends on other rows (routed per {per})")
    with torch.autocast(device().type, torch.bfloat16):
        under_autocast = _update(experts, seen, routing)
    assert under_autocast.isfinite().all(), f"not finite under autocast (routed per {per})"


def _check_tokens(subject: _Subject, per: Per | None) -> None:
    experts, seen, mask = subject.trained(), subject.seen(), batch_mask()
    routing = _routing(experts, per)
    alone = [_update_alone(experts, seen, routing, tokens=slice(t, t + 1)) for t in range(TOKENS)]
    assert_close(
        torch.cat(alone, 1),
        _update(experts, seen, routing),
        f"a token's update depends on other tokens (routed per {per})",
    )
    padded = replace(seen, hidden=seen.hidden.masked_fill(~mask[..., None], 7.0))
    plain, other = (_update(experts, each, routing, mask=mask)[mask] for each in (seen, padded))
    assert_close(other, plain, f"the update depends on padding (routed per {per})")


def _check_own_weights(subject: _Subject, per: Per) -> None:
    """Each unit's part of the update is what its weights would give, were they everyone's."""
    experts, seen = subject.trained(), subject.seen()
    rows = _several_weights(experts)
    everyones = torch.stack(
        [_update(experts, seen, constant_routing(per, weights)) for weights in rows]
    )
    own = (_units(per, subject.site) % len(rows)).expand(BATCH, TOKENS, subject.site.o)
    assert_close(
        _update(experts, seen, varied_routing(per, rows)),
        everyones.gather(0, own[None])[0],
        f"routed per {per}, some output is not weighed by its own {per}'s weights",
    )


def _units(per: Per, site: Site) -> Tensor:
    """Return which unit weighs each output, broadcasting to ``[b, t, o]``."""
    row = torch.arange(BATCH, device=device())[:, None, None]
    token = row * TOKENS + torch.arange(TOKENS, device=device())[:, None]
    output = torch.arange(site.o, device=device())
    return {
        "model": torch.zeros_like(row),
        "task": batch_task_ids()[:, None, None],
        "sequence": row,
        "token": token,
        "group": token * GROUPS + output * GROUPS // site.o,
    }[per]


def _check_units_agree(subject: _Subject) -> None:
    experts, seen, mixes = subject.trained(), subject.seen(), subject.mixes
    routings = [constant_routing(per, _weights(experts)) for per in mixes]
    updates = [_update(experts, seen, routing) for routing in routings]
    for per, update in zip(mixes[1:], updates[1:], strict=True):
        assert_close(update, updates[0], f"the same weights per {per} and per {mixes[0]} differ")


def _check_factors(subject: _Subject) -> None:
    experts, seen, weight = subject.trained(), subject.seen(), subject.weight()
    weights = _weights(experts) if subject.mixes else None
    unit = subject.units[0]
    routing = None if unit is None or weights is None else constant_routing(unit, weights)
    for task in range(len(TASKS)):
        ids = torch.full_like(batch_task_ids(), task)
        merged = experts.factors(weights, task, weight).merged(weight)
        expected = seen.hidden @ (merged - weight).mT
        update = _update(experts, seen, routing, ids)
        assert_close(update, expected, "the update is not that of its factors")


def _check_routing_matters(subject: _Subject, per: Per) -> None:
    experts, seen = subject.trained(), subject.seen()
    if experts.count == 1:
        return
    weights = _weights(experts)
    one, other = (
        _update(experts, seen, constant_routing(per, each)) for each in (weights, weights.flip(0))
    )
    assert not torch.allclose(one, other), f"weights per {per} change nothing"


def _check_up_factors(subject: _Subject) -> None:
    experts = randomized(subject.make())
    up = experts.up_factors
    assert up.dim() == 3, f"up_factors are {[*up.shape]}, not [o, e, r]"
    expected = (subject.site.o, experts.count)
    assert tuple(up.shape[:2]) == expected, f"up_factors are {[*up.shape]}, not {[*expected, 'r']}"
    up.square().sum().backward()
    reached = any(p.grad is not None and p.grad.any() for p in experts.parameters())
    assert reached, "up_factors are not in the graph: a penalty on them teaches nothing"


def _check_gradients(subject: _Subject) -> None:
    experts = randomized(subject.make())
    update = _update(experts, subject.seen(), _routing(experts, subject.units[0]))
    with seeded(4):
        (update * torch.randn(update.shape).to(update)).sum().backward()
    for name, parameter in experts.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"parameter {name} gets no gradient"
        assert gradient.isfinite().all(), f"parameter {name} gets a gradient that is not finite"
        assert gradient.any(), f"parameter {name} gets a gradient of 0"


def _check_task_indexed(subject: _Subject) -> None:
    experts = randomized(subject.make())
    routing, ids = _routing(experts, subject.units[0]), torch.ones_like(batch_task_ids())
    _update(experts, subject.seen(), routing, ids).square().sum().backward()
    assert_moves_only_its_own(experts, task=1)


def _check_segmented(subject: _Subject, per: Per | None) -> None:
    experts, ids = subject.trained(), batch_task_ids().sort().values
    if experts.segmented:
        routing = _routing(experts, per)
        assert_has_rows(
            experts, lambda context: _update(experts, subject.seen(context), routing, ids)
        )
