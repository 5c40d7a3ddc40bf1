from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mtlora_core import weighed
from mtlora_core.component import Per
from mtlora_core.context import TaskContext
from mtlora_core.interfaces import Routing
from mtlora_core.lowrank import mix
from mtlora_core.taskaxis import TaskAxis

sides = pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
UNITS: tuple[Per, ...] = get_args(Per)
TASKS = 3


def weight_of(routing: Routing, task_ids: Tensor, b: int, t: int, c: int, o: int, e: int) -> Tensor:
    """Return the weight of one expert for one output coordinate of one token."""
    weights = routing.weights
    match routing.per:
        case "model":
            return weights[e]
        case "task":
            return weights[int(task_ids[b]), e]
        case "sequence":
            return weights[b, e]
        case "token":
            return weights[b, t, 0, e]
        case "group":
            return weights[b, t, c * weights.shape[2] // o, e]


def plain_sum(low: Tensor, up: Tensor, routing: Routing, task_ids: Tensor) -> Tensor:
    """Return the weighted sum of the experts' outputs, one number at a time."""
    own = low if low.dim() == 4 else low[:, :, None].expand(-1, -1, up.shape[1], -1)
    (rows, tokens, *_), (o, count, _) = low.shape, up.shape
    numbers = [
        sum(
            (
                weight_of(routing, task_ids, b, t, c, o, e) * up[c, e].dot(own[b, t, e])
                for e in range(count)
            ),
            torch.zeros((), dtype=low.dtype),
        )
        for b in range(rows)
        for t in range(tokens)
        for c in range(o)
    ]
    return torch.stack(numbers).view(rows, tokens, o)


def draw(
    per: Per, b: int, t: int, o: int, e: int, r: int, g: int, own: bool = False
) -> tuple[Tensor, ...]:
    """Return low, up, weights and the tasks of rows; the floats are float64 leaves.

    With ``own``, every expert has a low-rank side of its own.
    """
    leading = {"model": (), "task": (TASKS,), "sequence": (b,), "token": (b, t, 1)}
    weights = torch.randn(*leading.get(per, (b, t, g)), e)
    low = torch.randn(b, t, e, r) if own else torch.randn(b, t, r)
    floats = (low, torch.randn(o, e, r), weights)
    return (*(x.double().requires_grad_() for x in floats), torch.randint(TASKS, (b,)))


@sides
@pytest.mark.parametrize("per", UNITS)
@settings(max_examples=15, deadline=None)
@given(
    b=st.integers(1, 3),
    t=st.integers(1, 3),
    group_width=st.integers(1, 3),
    e=st.integers(1, 4),
    r=st.integers(1, 3),
    g=st.integers(1, 3),
)
def test_is_the_plain_sum_in_value_and_gradients(
    per: Per, own: bool, b: int, t: int, group_width: int, e: int, r: int, g: int
) -> None:
    torch.manual_seed(0)
    *leaves, task_ids = draw(per, b, t, g * group_width, e, r, g, own)
    low, up, weights = leaves

    actual = mix(low, up, Routing(weights, per), task_ids)
    expected = plain_sum(low, up, Routing(weights, per), task_ids)

    torch.testing.assert_close(actual, expected)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, leaves, cotangent),
        torch.autograd.grad(expected, leaves, cotangent),
    )


@sides
def test_weights_of_one_group_are_weights_of_a_token(own: bool) -> None:
    low, up, weights, _ = draw("token", 2, 3, 6, 4, 2, 1, own)

    per_token = mix(low, up, Routing(weights, "token"))

    torch.testing.assert_close(mix(low, up, Routing(weights, "group")), per_token)


@sides
@pytest.mark.parametrize("per", UNITS)
def test_runs_in_half_precision_under_autocast(per: Per, own: bool) -> None:
    *doubles, task_ids = draw(per, 2, 3, 6, 4, 2, 2, own)
    low, up, weights = (x.float() for x in doubles)

    with torch.autocast("cpu", torch.bfloat16):
        actual = mix(low.bfloat16(), up, Routing(weights, per), task_ids)

    assert actual.dtype == torch.bfloat16
    expected = mix(low, up, Routing(weights, per), task_ids)
    torch.testing.assert_close(actual.float(), expected, rtol=0.05, atol=0.1)


@sides
@pytest.mark.parametrize("piece", [1, 8, 20])
@pytest.mark.parametrize("per", UNITS)
def test_a_few_tokens_at_a_time_come_to_the_same(
    monkeypatch: pytest.MonkeyPatch, per: Per, piece: int, own: bool
) -> None:
    *leaves, task_ids = draw(per, 2, 3, 6, 4, 2, 2, own)
    low, up, weights = leaves

    def sums() -> tuple[Tensor, ...]:
        mixed = mix(low, up, Routing(weights, per), task_ids)
        return mixed, *torch.autograd.grad(mixed.square().sum(), leaves)

    whole = sums()
    monkeypatch.setattr(weighed, "PIECE", piece)
    torch.testing.assert_close(sums(), whole)


@sides
@pytest.mark.parametrize("per", UNITS)
def test_its_gradients_are_those_of_finite_differences(per: Per, own: bool) -> None:
    *leaves, task_ids = draw(per, 2, 3, 4, 3, 2, 2, own)

    def mixed(low: Tensor, up: Tensor, weights: Tensor) -> Tensor:
        return mix(low, up, Routing(weights, per), task_ids)

    assert torch.autograd.gradcheck(mixed, leaves)


@sides
@pytest.mark.parametrize(
    ("counts", "tasks"),
    [
        ([1, 2, 1], [0, 1, 2]),
        ([2, 0, 1], [0, 1, 2]),  # as under accumulation: absent in this forward, not in the step
        ([2, 0, 1], [0, 2]),
        ([0, 0, 3], [1, 2]),
    ],
)
@pytest.mark.parametrize("piece", [1, 20, 2**18])
@pytest.mark.parametrize("per", UNITS)
def test_a_task_axis_gets_the_gradient_of_each_task_apart(
    monkeypatch: pytest.MonkeyPatch,
    per: Per,
    piece: int,
    counts: list[int],
    tasks: list[int],
    own: bool,
) -> None:
    monkeypatch.setattr(weighed, "PIECE", piece)  # pieces and tasks begin and end where they like
    low, drawn, weights, _ = draw(per, sum(counts), 3, 6, 4, 2, 2, own)
    task_ids = torch.arange(3).repeat_interleave(torch.tensor(counts))

    actual, *gradients = mixed_by_task(low, drawn, Routing(weights, per), task_ids, tasks)

    up = drawn.detach().requires_grad_()
    expected = mix(low, up, Routing(weights, per), task_ids)
    torch.testing.assert_close(actual, expected)
    cotangent = torch.ones_like(expected)
    for row, task in zip(gradients[-1], tasks, strict=True):
        of_task = cotangent * (task_ids == task)[:, None, None]
        (alone,) = torch.autograd.grad(expected, up, of_task, retain_graph=True)
        torch.testing.assert_close(row, alone)
    joint = torch.autograd.grad(expected, [low, weights], cotangent)
    torch.testing.assert_close(gradients[:-1], [*joint])


@sides
@pytest.mark.parametrize("per", UNITS)
def test_rows_of_half_precision_are_the_tasks_that_are_there_in_full(per: Per, own: bool) -> None:
    *doubles, _ = draw(per, 3, 2, 6, 4, 2, 2, own)
    low, up, weights = (x.detach().float().requires_grad_() for x in doubles)
    given = low, up, Routing(weights, per), torch.tensor([0, 2, 2]), [0, 2]

    *_, rows = mixed_by_task(*given, half=True)

    *_, expected = mixed_by_task(*given)
    assert (rows.dtype, rows.shape) == (torch.float32, (2, *up.shape))
    torch.testing.assert_close(rows, expected, rtol=0.05, atol=0.1)


def mixed_by_task(
    low: Tensor,
    up: Tensor,
    routing: Routing,
    task_ids: Tensor,
    tasks: list[int],
    half: bool = False,
) -> list[Tensor]:
    """Return the mix, and of its sum the gradients of low, weights and, a row a task, of up."""
    module = nn.Module()
    parameter = module.up = nn.Parameter(up.detach())
    context = TaskContext(("a", "b", "c"))
    axis = TaskAxis(context, tasks, {module: {"up": parameter}})
    with (
        context.serving(task_ids),
        axis.carried(),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        made = mix(low, parameter, routing, task_ids)
    leaves = [low, routing.weights, axis.leaves[parameter].tensor]
    return [made, *torch.autograd.grad(made.sum(), leaves)]


def test_a_gradient_in_half_precision_is_summed_over_tokens_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weighed, "PIECE", 1)  # a sum of as many products as there are tokens
    up = torch.zeros(2, 1, 1, requires_grad=True)
    low, weights = torch.ones(1, 1000, 1), torch.ones(1, 1000, 1, 1)

    with torch.autocast("cpu", torch.bfloat16):
        mix(low, up, Routing(weights, "token")).sum().backward()

    assert up.grad is not None
    assert up.grad.flatten().tolist() == [1000, 1000]  # bfloat16 would stop at 256


def numbers_kept(per: Per, o: int, e: int, r: int, g: int, own: bool = False) -> list[int]:
    """Return how many numbers each tensor has that 6 tokens' mixing keeps for backward."""
    low, up, weights, task_ids = draw(per, 2, 3, o, e, r, g, own)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mix(low, up, Routing(weights, per), task_ids)
    return kept


@sides
@pytest.mark.parametrize("per", UNITS)
def test_keeps_no_temporary_as_wide_as_all_experts_outputs(per: Per, own: bool) -> None:
    assert max(numbers_kept(per, 64, 8, 2, 2, own)) < 6 * 64 * 8


@pytest.mark.parametrize("per", ["token", "group"])
def test_keeps_only_what_went_in(per: Per) -> None:
    e, r, g = 8, 7, 1 if per == "token" else 2

    assert sorted(numbers_kept(per, 4, e, r, g)) == sorted([6 * r, 6 * g * e, 4 * e * r])


@sides
def test_a_task_absent_from_the_batch_gets_no_gradient_for_its_weights(own: bool) -> None:
    low, up, weights, _ = draw("task", 2, 3, 6, 4, 2, 1, own)

    mix(low, up, Routing(weights, "task"), torch.tensor([2, 0])).sum().backward()

    assert weights.grad is not None
    assert weights.grad.any(1).tolist() == [True, False, True]
