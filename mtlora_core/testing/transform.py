"""What every gradient transform promises: one finite gradient a group, and nothing remembered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..component import Component, load
from ..interfaces import GradientTransform, TaskGradients
from .samples import device, options_of, seeded

SIZES = ((6,), (8, 3), (5, 1, 4))
"""Of the parameters of three groups."""


def check_transform(component: Component, options: Mapping[str, Any] | None = None) -> None:
    """Assert that a gradient transform keeps its contract.

    For one task or several it returns one finite gradient of the right size for each group, also
    where rows are 0, as those of A are while B is; it leaves the rows as they are; it does the
    same when asked again, also for some of the groups; and the gradient of a single task that has
    no other to make peace with points the same way.

    Args:
        component: The transform's description.
        options: Its options, as a recipe writes them.
    """
    transform: GradientTransform = load(component.build)(options_of(component, options))
    for tasks in (1, 2, 5):
        _check_shapes(transform, tasks)
        _check_repeatable(transform, tasks)
        _check_zero_rows(transform, tasks)
    _check_alone(transform)


def _gradients(tasks: int, scale: float = 1.0) -> TaskGradients:
    with seeded(tasks):
        groups = [[torch.randn(tasks, p).to(device()) * scale for p in group] for group in SIZES]
    return TaskGradients(groups, tuple(range(tasks)), seed=7)


def _combined(transform: GradientTransform, gradients: TaskGradients) -> list[Tensor]:
    combined = [*transform(gradients)]
    sizes = [sum(rows.shape[1] for rows in group) for group in gradients.groups]
    found = [[*vector.shape] for vector in combined]
    assert found == [[size] for size in sizes], (
        f"the gradients have the shapes {found}, the groups {sizes} parameters"
    )
    assert all(vector.isfinite().all() for vector in combined), "a gradient is not finite"
    return combined


def _check_shapes(transform: GradientTransform, tasks: int) -> None:
    gradients = _gradients(tasks)
    _combined(transform, gradients)
    for group, before in zip(gradients.groups, _gradients(tasks).groups, strict=True):
        same = all(torch.equal(*pair) for pair in zip(group, before, strict=True))
        assert same, "the transform changes the rows that it is given"


def _check_repeatable(transform: GradientTransform, tasks: int) -> None:
    first, second = (_combined(transform, _gradients(tasks)) for _ in range(2))
    same = all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert same, "asked again for the same step, the transform gives another gradient"
    whole = _gradients(tasks)
    last = TaskGradients(whole.groups[-1:], whole.task_ids, whole.seed)
    torch.testing.assert_close(
        _combined(transform, last)[0],
        first[-1],
        msg=lambda m: f"a group's gradient depends on which groups come with it: {m}",
    )


def _check_zero_rows(transform: GradientTransform, tasks: int) -> None:
    _combined(transform, _gradients(tasks, scale=0.0))


def _check_alone(transform: GradientTransform) -> None:
    gradients = _gradients(1)
    for vector, own in zip(_combined(transform, gradients), gradients.matrices(), strict=True):
        cosine = torch.nn.functional.cosine_similarity(vector, own[0], dim=0)
        assert cosine > 0.999, "a single task's gradient is turned, and there is no other task"
