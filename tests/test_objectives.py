from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mtlora_core.recipe import Average
from mtlora_core.tasks import Task
from mtlora_core.train.objectives import example_losses, predictions, shares

COLOURS = Task("colours", labels=("red", "green", "blue"))
LENGTHS = Task("lengths", objective="regression", metric="mse")


def logits(rows: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[Task], dict[str, int]]:
    """Tasks with weights, and how many examples of each a step has; at least one."""
    weights = draw(st.lists(st.floats(0.1, 10), min_size=1, max_size=6))
    tasks = [Task(f"task{i}", weight=weight) for i, weight in enumerate(weights)]
    counts = draw(
        st.lists(st.integers(0, 40), min_size=len(tasks), max_size=len(tasks)).filter(any)
    )
    return tasks, {task.name: count for task, count in zip(tasks, counts, strict=True)}


def test_classification_is_torchs_cross_entropy() -> None:
    outputs, labels = logits(5), torch.tensor([0, 2, 1, 1, 0])

    losses = example_losses(COLOURS, outputs, labels)

    expected = -outputs.log_softmax(-1)[torch.arange(5), labels]
    torch.testing.assert_close(losses, expected)


def test_regression_is_the_squared_error() -> None:
    losses = example_losses(LENGTHS, torch.tensor([[1.0], [3.0]]), torch.tensor([0.5, 5.0]))

    torch.testing.assert_close(losses, torch.tensor([0.25, 4.0]))


def test_a_class_weight_is_a_factor_whatever_else_is_in_the_batch() -> None:
    weighted = replace(COLOURS, class_weights=(1.0, 2.0, 0.5))
    outputs, labels = logits(4), torch.tensor([0, 1, 2, 1])

    ratios = example_losses(weighted, outputs, labels) / example_losses(COLOURS, outputs, labels)

    torch.testing.assert_close(ratios, torch.tensor([1.0, 2.0, 0.5, 2.0]))


@pytest.mark.parametrize("task", [COLOURS, LENGTHS], ids=lambda task: task.name)
def test_losses_of_half_precision_outputs_are_float32_and_in_the_graph(task: Task) -> None:
    outputs = logits(2, task.outputs).bfloat16().requires_grad_()

    losses = example_losses(task, outputs, torch.zeros(2, dtype=torch.float64))
    losses.sum().backward()

    assert losses.dtype == torch.float32
    assert outputs.grad is not None
    assert outputs.grad.abs().sum() > 0


def test_equal_examples_give_the_mean_over_the_whole_batch() -> None:
    tasks = [COLOURS, Task("sizes", labels=("small", "medium", "large"))]
    outputs, labels = logits(10), torch.arange(10) % 3
    parts = {"colours": slice(0, 3), "sizes": slice(3, 10)}

    factors = shares("examples", {"colours": 3, "sizes": 7}, tasks)
    loss = sum(
        factors[task.name]
        * example_losses(task, outputs[parts[task.name]], labels[parts[task.name]]).sum()
        for task in tasks
    )

    torch.testing.assert_close(loss, F.cross_entropy(outputs, labels))


def test_equal_tasks_give_the_mean_of_the_tasks_means() -> None:
    tasks = [COLOURS, LENGTHS, Task("absent", labels=("a", "b"))]

    factors = shares("tasks", {"colours": 3, "lengths": 7, "absent": 0}, tasks)

    assert factors == pytest.approx({"colours": 1 / 6, "lengths": 1 / 14, "absent": 0})


@given(steps())
def test_shares_of_equally_weighted_tasks_sum_to_one(
    step: tuple[list[Task], dict[str, int]],
) -> None:
    tasks, counts = step
    plain = [replace(task, weight=1.0) for task in tasks]

    for average in ("examples", "tasks"):
        factors = shares(average, counts, plain)
        assert sum(factors[name] * count for name, count in counts.items()) == pytest.approx(1)


@given(steps(), st.sampled_from(["examples", "tasks"]))
def test_a_tasks_weight_is_a_factor_of_its_share_alone(
    step: tuple[list[Task], dict[str, int]], average: Average
) -> None:
    tasks, counts = step
    plain = shares(average, counts, [replace(task, weight=1.0) for task in tasks])

    weighted = shares(average, counts, tasks)

    assert weighted == pytest.approx({task.name: task.weight * plain[task.name] for task in tasks})


def test_a_task_that_the_step_has_no_examples_of_gets_nothing() -> None:
    assert shares("examples", {"lengths": 2}, [COLOURS, LENGTHS]) == {"colours": 0, "lengths": 0.5}


def test_rows_of_split_forwards_sum_to_the_joint_gradient() -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    x, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)), torch.arange(6) % 3
    (joint,) = torch.autograd.grad(F.cross_entropy(x @ weight, labels), weight)

    factor = shares("examples", {"colours": 6}, [COLOURS])["colours"]
    halves = [
        torch.autograd.grad(
            factor * example_losses(COLOURS, x[part] @ weight, labels[part]).sum(), weight
        )[0]
        for part in (slice(0, 2), slice(2, 6))
    ]

    torch.testing.assert_close(halves[0] + halves[1], joint)


def test_a_prediction_is_the_likeliest_class_or_the_number() -> None:
    assert predictions(COLOURS, torch.tensor([[0.1, 0.7, 0.2], [3.0, 1.0, 2.0]])).tolist() == [1, 0]
    assert predictions(LENGTHS, torch.tensor([[2.5], [-1.0]])).tolist() == [2.5, -1.0]
