"""What every loss weighting promises: finite weights, and a memory that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..component import Component, load
from ..faults import weights_fault
from ..interfaces import LossWeighting, StepLosses
from .samples import MANY_TASKS, STEPS, assert_same_shapes, memory_of, options_of, seeded


def check_weighting(component: Component, options: Mapping[str, Any] | None = None) -> None:
    """Assert that a loss weighting keeps its contract.

    For one task or several it returns a finite weight of 0 or more for each, also where losses are
    0 or large, and reads no losses that its component does not say it reads; it leaves the losses
    and torch's generator as they are; and all that it remembers is in its ``state_dict``, in
    tensors of fixed shapes, so that another one goes on where it was.

    Args:
        component: The weighting's description.
        options: Its options, as a recipe writes them.
    """
    current = component.capabilities["weighs_losses"] == "current"
    _check_memory(partial(_built, component, options), current)
    for loss in (0.0, 1e-12, 1e6):
        weighting = _built(component, options)
        for number in range(4):
            losses = torch.tensor([1.0, loss, loss], dtype=torch.float64)
            _take(weighting, StepLosses((0, 1, 4), losses, number, number), current)


def _built(component: Component, options: Mapping[str, Any] | None) -> LossWeighting:
    weighting = load(component.build)(options_of(component, options), MANY_TASKS)
    assert isinstance(weighting, LossWeighting), "a weighting derives from LossWeighting"
    return weighting


def _step(number: int, tasks: Sequence[int]) -> StepLosses:
    with seeded(number):
        losses = torch.rand(len(tasks), dtype=torch.float64) + 0.1
    return StepLosses(tuple(tasks), losses, number // 2, number)


@torch.no_grad()
def _take(weighting: LossWeighting, step: StepLosses, current: bool) -> Tensor:
    """Take a weighting through a step; return its weights."""
    hidden = step.losses if current else torch.full_like(step.losses, torch.nan)
    before, drawn = step.losses.clone(), torch.get_rng_state()
    given = StepLosses(step.task_ids, hidden, step.epoch, step.seed)
    weights = weighting.weights(given)
    weighting.after_step(step)
    fault = weights_fault(weights, given, known=current)
    assert fault is None, f"weights() gave {fault}"
    assert (weights >= 0).all(), f"a weight is negative: {weights.tolist()}"
    assert torch.equal(step.losses, before), "the weighting changes the losses that it is given"
    assert torch.equal(torch.get_rng_state(), drawn), "the weighting draws without the step's seed"
    return weights


def _check_memory(build: Callable[[], LossWeighting], current: bool) -> None:
    weighting = build()
    for number, tasks in enumerate(STEPS):
        before, other = memory_of(weighting), build()
        other.load_state_dict(before)
        first, second = (_take(w, _step(number, tasks), current) for w in (weighting, other))
        assert torch.equal(first, second), "remembers something that is not in its state_dict"
        assert_same_shapes(weighting, before)
