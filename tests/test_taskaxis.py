"""The task axis itself: whose rows a forward has, and leaves of what tasks share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtlora_core.context import Served, TaskContext
from mtlora_core.errors import CompositionError
from mtlora_core.lowrank import linear
from mtlora_core.taskaxis import TaskAxis, TaskLeaf


def axis_over(*tasks: int) -> tuple[TaskAxis, nn.Parameter]:
    """Return an axis over one shared weight."""
    weight = nn.Parameter(torch.randn(2, 3))
    module = nn.ParameterList([weight])
    return TaskAxis(TaskContext(tuple("abcd")), tasks, {module: {"0": weight}}), weight


def leaf_of_the_only_weight(axis: TaskAxis) -> TaskLeaf:
    (leaf,) = axis.leaves.values()
    return leaf


def test_counts_are_those_of_the_rows_that_are_served_now() -> None:
    axis, _ = axis_over(0, 1, 3)
    context = axis.context

    with context.serving(torch.tensor([0, 0, 3])):
        assert axis.counts() == (2, 0, 1)
        with context.narrowed(slice(1, 3)):
            assert axis.counts() == (1, 0, 1)
        assert axis.counts() == (2, 0, 1)
        assert axis.runs() == [(0, slice(0, 2)), (2, slice(2, 3))]
    with context.serving(torch.tensor([1, 1])):
        assert axis.counts() == (0, 2, 0)


@pytest.mark.parametrize("ids", [[0, 1, 0], [1, 0], [0, 2]])
def test_rows_out_of_order_or_of_an_absent_task_are_refused_each_time(ids: list[int]) -> None:
    axis, _ = axis_over(0, 1, 3)

    with axis.context.serving(torch.tensor(ids)):
        for _ in range(2):
            with pytest.raises(
                CompositionError, match=r"ordered by task, of the tasks \[0, 1, 3\]"
            ):
                axis.counts()


def test_rows_are_counted_once_a_forward_however_many_sites_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Served] = []
    tasks: Any = Served.tasks

    def noted(served: Served) -> list[int]:
        asked.append(served)
        found: list[int] = tasks.func(served)
        return found

    axis, weight = axis_over(0, 1)
    monkeypatch.setattr(Served, "tasks", property(noted))
    for _ in range(2):
        with axis.context.serving(torch.tensor([0, 1, 1])), axis.carried():
            for _ in range(5):
                linear(torch.ones(3, 2, 3), weight)

    assert len(asked) == 2


def test_a_part_that_runs_once_never_makes_the_slices() -> None:
    axis, weight = axis_over(0, 1)
    leaf = leaf_of_the_only_weight(axis)
    with axis.context.serving(torch.tensor([0, 1, 1])), axis.carried():
        linear(torch.ones(3, 2, 3), weight).sum().backward()

    assert leaf.tensor.grad is not None
    assert leaf.tensor.grad[:, 0, 0].tolist() == [2, 4]
    assert "slices" not in vars(leaf)


def test_slices_are_made_together_and_lead_to_the_leaf_whoever_reads_them_first() -> None:
    axis, weight = axis_over(0, 1)
    leaf = leaf_of_the_only_weight(axis)
    with torch.no_grad():
        first, second = leaf.slices

    assert leaf.slices[1] is second
    assert torch.equal(first, weight)
    (3 * second).sum().backward()
    assert leaf.tensor.grad is not None
    assert leaf.tensor.grad.sum((1, 2)).tolist() == [0, 18]
