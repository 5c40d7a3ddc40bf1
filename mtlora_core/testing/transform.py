"""What every gradient transform promises: a finite gradient a group, and a memory that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..component import Component, load
from ..faults import gradients_fault
from ..interfaces import GradientTransform, TaskGradients
from .samples import (
    MANY_TASKS,
    STEPS,
    assert_same_shapes,
    device,
    memory_of,
    options_of,
    seeded,
    task_gradients,
)

SIZES = ((6,), (8, 3), (5, 1, 4))
"""Of the parameters of three groups."""


def check_transform(component: Component, options: Mapping[str, Any] | None = None) -> None:
    """Assert that a gradient transform keeps its contract.

    For one task or several it returns one finite gradient of the right size for each group, of the
    rows' dtype and on their device, also where rows are 0, as those of A are while B is; it leaves
    the rows as they are; from the same memory it does the same when asked again, also for some of
    the groups; the gradient of a single task that has no other to make peace with points the same
    way; and all that it remembers is in its ``state_dict``, in tensors of fixed shapes, so that
    another one goes on where it was.

    Args:
        component: The transform's description.
        options: Its options, as a recipe writes them.
    """
    _check_memory(partial(_built, component, options))
    transform = _built(component, options)
    for tasks in ((0,), (1, 4), (0, 1, 2, 3, 4)):
        _check_rows_stay(transform, tasks)
        _check_repeatable(transform, tasks)
        _check_zero_rows(transform, tasks)
    _check_alone(_built(component, options))


def _built(component: Component, options: Mapping[str, Any] | None) -> GradientTransform:
    build = load(component.build)
    transform: GradientTransform = build(options_of(component, options), MANY_TASKS, len(SIZES))
    return transform


def _gradients(tasks: Sequence[int], scale: float = 1.0, step: int = 0) -> TaskGradients:
    count = len(tasks)
    with seeded(len(tasks) + 10 * step):
        groups = [[torch.randn(count, p).to(device()) * scale for p in group] for group in SIZES]
        losses = torch.rand(count, dtype=torch.float64) + 0.1
    return task_gradients(groups, tasks, seed=7 + step, losses=losses.to(device()))


def _combined(transform: GradientTransform, gradients: TaskGradients) -> Sequence[Tensor]:
    combined = transform(gradients)
    fault = gradients_fault(combined, gradients)
    assert fault is None, f"the transform gave {fault}"
    return combined


def _remember(transform: GradientTransform, memory: Mapping[str, Any]) -> None:
    if isinstance(transform, nn.Module):
        transform.load_state_dict(dict(memory))


def _assert_same(first: Sequence[Tensor], second: Sequence[Tensor], message: str) -> None:
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True)), message


def _check_rows_stay(transform: GradientTransform, tasks: Sequence[int]) -> None:
    gradients = _gradients(tasks)
    _combined(transform, gradients)
    for group, before in zip(gradients.groups, _gradients(tasks).groups, strict=True):
        _assert_same(group, before, "the transform changes the rows that it is given")


def _check_repeatable(transform: GradientTransform, tasks: Sequence[int]) -> None:
    before, whole = memory_of(transform), _gradients(tasks)
    first = _combined(transform, whole)
    _remember(transform, before)
    second = _combined(transform, _gradients(tasks))
    message = "asked again for the same step, the transform gives another gradient"
    _assert_same(first, second, message)
    _remember(transform, before)
    last = TaskGradients(
        whole.groups[-1:], whole.task_ids, whole.seed, whole.losses, whole.indices[-1:]
    )
    torch.testing.assert_close(
        _combined(transform, last)[0],
        first[-1],
        msg=lambda m: f"a group's gradient depends on which groups come with it: {m}",
    )


def _check_zero_rows(transform: GradientTransform, tasks: Sequence[int]) -> None:
    _combined(transform, _gradients(tasks, scale=0.0))


def _check_alone(transform: GradientTransform) -> None:
    gradients = _gradients((3,))
    for vector, own in zip(_combined(transform, gradients), gradients.matrices(), strict=True):
        cosine = torch.nn.functional.cosine_similarity(vector, own[0], dim=0)
        assert cosine > 0.999, "a single task's gradient is turned, and there is no other task"


def _check_memory(build: Callable[[], GradientTransform]) -> None:
    transform = build()
    for step, tasks in enumerate(STEPS):
        before, other = memory_of(transform), build()
        _remember(other, before)
        first = _combined(transform, _gradients(tasks, step=step))
        second = _combined(other, _gradients(tasks, step=step))
        _assert_same(first, second, "remembers something that is not in its state_dict")
        assert_same_shapes(transform, before)
