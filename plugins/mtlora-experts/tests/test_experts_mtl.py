from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import mtlora_experts
from mtlora_core.context import TaskContext
from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Routing, SiteInput
from mtlora_core.testing import check_experts, described, tiny_site
from mtlora_experts.mtl import Mtl
from mtlora_experts.options import MtlOptions

TASKS = ("first", "second", "third")
TRANSFORMS: tuple[Literal["full", "diagonal"], ...] = ("full", "diagonal")
transforms = pytest.mark.parametrize("transform", TRANSFORMS)


def make_mtl(**options: Any) -> Mtl:
    torch.manual_seed(0)
    mtl = Mtl(MtlOptions(**{"dropout": 0, **options}), tiny_site(), TASKS)
    for parameter in mtl.parameters():
        nn.init.normal_(parameter)
    return mtl


def update(mtl: Mtl, routing: Routing, hidden: Tensor | None = None) -> Tensor:
    """Return the update of a row of the third task and one of the first."""
    torch.manual_seed(1)
    hidden = torch.randn(2, 3, 12) if hidden is None else hidden
    context = TaskContext(TASKS)
    with context.serving(torch.tensor([2, 0])):
        answer = mtl(SiteInput(hidden, torch.zeros(2, 3, 16), None, context), routing)
    assert isinstance(answer, Tensor)
    return answer


def per_task(count: int = 3) -> Routing:
    torch.manual_seed(2)
    return Routing(torch.randn(len(TASKS), count).softmax(-1), "task")


def matrix(mtl: Mtl, task: int) -> Tensor:
    own = mtl.transform[task]
    return torch.diag(own) if own.dim() == 1 else own


@pytest.mark.parametrize(
    "options",
    [{}, {"count": 2, "rank": 3, "alpha": 5, "dropout": 0.5, "transform": "diagonal"}],
)
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "mtl"), options)


@transforms
def test_is_the_sum_over_experts_of_the_tasks_own_transform(
    transform: Literal["full", "diagonal"],
) -> None:
    mtl, hidden = make_mtl(rank=4, alpha=6, transform=transform), torch.randn(2, 3, 12)
    routing = per_task()

    rows = [
        sum(
            (w * 6 / 4 * x @ (mtl.up[:, e] @ matrix(mtl, task) @ mtl.down).T)
            for e, w in enumerate(routing.weights[task])
        )
        for x, task in zip(hidden, (2, 0), strict=True)
    ]
    expected = torch.stack([row for row in rows if isinstance(row, Tensor)])
    torch.testing.assert_close(update(mtl, routing, hidden), expected)


@transforms
def test_transforms_start_as_the_identity(transform: Literal["full", "diagonal"]) -> None:
    mtl = Mtl(MtlOptions(rank=4, transform=transform), tiny_site(), TASKS)

    assert all(torch.equal(matrix(mtl, task), torch.eye(4)) for task in range(len(TASKS)))


def test_transform_is_full_or_a_factor_for_each_coordinate() -> None:
    shapes = {each: [*make_mtl(rank=4, transform=each).transform.shape] for each in TRANSFORMS}

    assert shapes == {"full": [3, 4, 4], "diagonal": [3, 4]}


@transforms
def test_a_task_absent_from_the_batch_gets_no_gradient(
    transform: Literal["full", "diagonal"],
) -> None:
    mtl = make_mtl(transform=transform)

    update(mtl, per_task()).square().sum().backward()

    assert mtl.transform.grad is not None
    reached = [bool(gradient.any()) for gradient in mtl.transform.grad]
    assert reached == [True, False, True]


def test_needs_the_task_of_each_row_whatever_the_router() -> None:
    seen = SiteInput(torch.randn(2, 3, 12), torch.zeros(2, 3, 16), None, TaskContext(TASKS))

    with pytest.raises(CompositionError, match="asks for the task of each example"):
        make_mtl()(seen, Routing(torch.ones(3) / 3, "model"))


@pytest.mark.parametrize("count", [2, 5])
def test_count_is_the_number_of_up_projections(count: int) -> None:
    assert make_mtl(count=count, rank=4).up_factors.shape == (16, count, 4)


def test_rank_is_the_width_of_the_low_rank_side() -> None:
    assert make_mtl(rank=5).down.shape == (5, 12)


def test_alpha_scales_the_update() -> None:
    half = update(make_mtl(alpha=8), per_task())

    torch.testing.assert_close(half, update(make_mtl(alpha=16), per_task()) / 2)


def test_dropout_drops_in_training_only() -> None:
    mtl, whole = make_mtl(dropout=0.5), update(make_mtl(), per_task())

    assert not torch.allclose(update(mtl.train(), per_task()), whole)
    torch.testing.assert_close(update(mtl.eval(), per_task()), whole)


def test_the_first_step_moves_the_up_projections_only() -> None:
    torch.manual_seed(0)
    mtl = Mtl(MtlOptions(dropout=0), tiny_site(), TASKS)

    (update(mtl, per_task()) - 1).square().sum().backward()

    moved = {name for name, p in mtl.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"up"}


def test_under_even_weights_it_is_the_mean_of_its_up_projections() -> None:
    mtl, one = make_mtl(count=3), make_mtl(count=1)
    mean = mtl.up.mean(1, keepdim=True)
    one.load_state_dict({"down": mtl.down, "transform": mtl.transform, "up": mean})

    alone = update(one, Routing(torch.ones(1), "model"))

    torch.testing.assert_close(update(mtl, Routing(torch.full((3,), 1 / 3), "model")), alone)
