"""What every penalty promises: one number in the graph, finite from the first step on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..component import Component, Per, load
from ..interfaces import Experts, Penalty, Routing, SiteInput
from .samples import BATCH, TOKENS, batch_mask, constant_routing, device, options_of, seeded


class GivenExperts(Experts):
    """Experts that are nothing but their up-projections, for penalties to read.

    Args:
        up: ``[o, e, r]``.
    """

    def __init__(self, up: Tensor) -> None:
        super().__init__()
        self.count = up.shape[1]
        self.up = nn.Parameter(up)

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return an update of 0."""
        return torch.zeros_like(site.base_output)

    @property
    def up_factors(self) -> Tensor:
        """``up``."""
        return self.up


def check_penalty(component: Component, options: Mapping[str, Any] | None = None) -> None:
    """Assert that a penalty keeps its contract.

    It returns a finite scalar for random and for fresh experts, for one expert, and for routing
    of every unit, with a finite gradient that reaches what the component says it penalizes; its
    ``weight`` does not change it, for the model applies that; nor do the weights of padding.

    Args:
        component: The penalty's description.
        options: Its options, as a recipe writes them.
    """
    penalty: Penalty = load(component.build)(options_of(component, options))
    _check_gradient(penalty, component.capabilities["penalizes"])
    _check_fresh(penalty)
    _check_every_unit(penalty)
    _check_padding(penalty)
    _check_weight_is_left_to_the_model(component, options)


def _experts(count: int = 3, scale: float = 1.0) -> GivenExperts:
    with seeded():
        return GivenExperts(torch.randn(8, count, 2).to(device()) * scale)


def _routing(count: int = 3) -> Routing:
    """Return what a sparse router gives that leaves out each token's least likely expert."""
    with seeded(1):
        dense = torch.randn(BATCH, TOKENS, 2, count).softmax(-1).to(device())
    kept = dense * (dense > dense.amin(-1, keepdim=True))
    weights = kept / kept.sum(-1, keepdim=True)
    return Routing(weights.requires_grad_(), "group", dense=dense.requires_grad_())


def _value(penalty: Penalty, experts: Experts, routing: Routing | None) -> Tensor:
    value = penalty(experts, routing)
    assert isinstance(value, Tensor), f"the penalty is no tensor, but {value!r}"
    assert value.shape == (), f"the penalty is no scalar, but has the shape {[*value.shape]}"
    assert value.isfinite(), f"the penalty is {value.item()}"
    return value


def _check_gradient(penalty: Penalty, penalizes: str) -> None:
    experts, routing = _experts(), _routing()
    value = _value(penalty, experts, routing)
    assert value.requires_grad, "the penalty is not in the graph: it teaches nothing"
    value.backward()
    read = {"weights": experts.up, "routing": routing.weights, "selection": routing.dense}[
        penalizes
    ]
    assert read is not None
    assert read.grad is not None, f"declared to penalize {penalizes}, which get no gradient"
    assert read.grad.isfinite().all(), f"the gradient of {penalizes} is not finite"
    assert read.grad.any(), f"declared to penalize {penalizes}, which get a gradient of 0"


def _check_fresh(penalty: Penalty) -> None:
    experts = _experts(scale=0.0)
    value = _value(penalty, experts, _routing())
    if value.requires_grad:
        value.backward()
    finite = experts.up.grad is None or experts.up.grad.isfinite().all()
    assert finite, "the gradient of fresh experts, whose up-projections are 0, is not finite"


def _check_every_unit(penalty: Penalty) -> None:
    units: tuple[Per, ...] = ("model", "task", "sequence", "token", "group")
    for count in (3, 1):
        weights = torch.arange(1.0, count + 1, device=device()).softmax(0)
        for per in units:
            _value(penalty, _experts(count), constant_routing(per, weights))
    _value(penalty, _experts(1), None)


def _check_padding(penalty: Penalty) -> None:
    routing = replace(_routing(), mask=batch_mask())
    assert routing.dense is not None
    other = replace(routing, weights=_swapped(routing.weights), dense=_swapped(routing.dense))
    torch.testing.assert_close(
        _value(penalty, _experts(), routing),
        _value(penalty, _experts(), other),
        msg=lambda m: f"the weights of padding change the penalty: {m}",
    )


def _swapped(weights: Tensor) -> Tensor:
    """Return ``weights`` with those of padding in another order."""
    swapped = weights.detach().clone()
    swapped[~batch_mask()] = swapped[~batch_mask()].flip(-1)
    return swapped


def _check_weight_is_left_to_the_model(
    component: Component, options: Mapping[str, Any] | None
) -> None:
    one, two = (
        load(component.build)(options_of(component, {**(options or {}), "weight": weight}))
        for weight in (1.0, 2.0)
    )
    same = torch.equal(_value(one, _experts(), _routing()), _value(two, _experts(), _routing()))
    assert same, "the penalty applies its weight, and so does the model"
