from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

import mtlora_routers
from mtlora_core.context import TaskContext
from mtlora_core.testing import check_router, described, tiny_site
from mtlora_routers.options import TaskEmbeddingOptions
from mtlora_routers.task_embedding import TaskEmbedding

TASKS = ("first", "second", "third")


def make_task_embedding(**options: Any) -> TaskEmbedding:
    torch.manual_seed(0)
    return TaskEmbedding(TaskEmbeddingOptions(**options), tiny_site(), 4, TASKS)


@pytest.mark.parametrize("options", [{}, {"width": 3}])
def test_keeps_the_contract_of_a_router(options: dict[str, Any]) -> None:
    check_router(described(mtlora_routers, "router", "task-embedding"), options)


def test_weighs_each_task_by_a_softmax_of_a_linear_map_of_its_embedding() -> None:
    router = make_task_embedding(width=6)

    routing = router(torch.randn(2, 3, 12), TaskContext(TASKS))

    rows = [(router.weight @ router.embedding[t]).softmax(-1) for t in range(3)]
    torch.testing.assert_close(routing.weights, torch.stack(rows))


@pytest.mark.parametrize("width", [5, 64])
def test_width_is_that_of_an_embedding(width: int) -> None:
    router = make_task_embedding(width=width)

    assert [*router.embedding.shape, *router.weight.shape] == [4, width, 4, width]


def test_nothing_reads_the_row_of_a_missing_task() -> None:
    router = make_task_embedding()

    weights = router(torch.zeros(1, 1, 12), TaskContext(TASKS)).weights
    (weights * torch.randn(3, 4)).sum().backward()

    assert router.embedding.grad is not None
    assert router.embedding.grad.any(1).tolist() == [True, True, True, False]


def test_a_task_absent_from_the_batch_gets_no_gradient() -> None:
    router = make_task_embedding()

    weights = router(torch.zeros(1, 1, 12), TaskContext(TASKS)).weights
    (weights[torch.tensor([2, 0])] * torch.randn(2, 4)).sum().backward()

    assert router.embedding.grad is not None
    assert router.embedding.grad.any(1).tolist() == [True, False, True, False]


def test_starts_with_a_normal_embedding_and_a_uniform_gate() -> None:
    router = TaskEmbedding(TaskEmbeddingOptions(width=100), tiny_site(), 50, ["task"] * 200)

    torch.testing.assert_close(router.embedding.std(), torch.tensor(1.0), rtol=0.05, atol=0)
    assert 0.09 < router.weight.abs().max() <= 0.1


def test_refuses_an_embedding_of_no_width() -> None:
    with pytest.raises(ValidationError):
        TaskEmbeddingOptions(width=0)
