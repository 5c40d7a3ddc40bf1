from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtlora_experts
from mtlora_core.context import TaskContext
from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import SiteInput
from mtlora_core.testing import check_experts, described, tiny_site
from mtlora_experts.lora import Lora
from mtlora_experts.options import LoraOptions, PerTaskOptions
from mtlora_experts.per_task import PerTask

TASKS = ("first", "second", "third")


def make_per_task(**options: Any) -> PerTask:
    torch.manual_seed(0)
    per_task = PerTask(PerTaskOptions(**options), tiny_site(), TASKS)
    for up in per_task.up:
        nn.init.normal_(up)
    return per_task


def update(per_task: PerTask, *tasks: int, hidden: Tensor | None = None) -> Tensor:
    """Return the update of rows of ``tasks``."""
    torch.manual_seed(1)
    hidden = torch.randn(len(tasks), 3, 12) if hidden is None else hidden
    context = TaskContext(TASKS)
    with context.serving(torch.tensor(tasks)):
        answer = per_task(SiteInput(hidden, torch.zeros(len(tasks), 3, 16), None, context), None)
    assert isinstance(answer, Tensor)
    return answer


@pytest.mark.parametrize("options", [{}, {"rank": 3, "alpha": 5, "dropout": 0.5}])
def test_keeps_the_contract_of_experts(options: dict[str, Any]) -> None:
    check_experts(described(mtlora_experts, "experts", "per-task"), options)


def test_each_row_gets_the_update_of_its_own_tasks_factors() -> None:
    per_task, hidden = make_per_task(rank=4, alpha=6), torch.randn(4, 3, 12)
    tasks = (2, 0, 2, 2)

    rows = [
        6 / 4 * x @ per_task.down[t].T @ per_task.up[t].T
        for x, t in zip(hidden, tasks, strict=True)
    ]
    torch.testing.assert_close(update(per_task, *tasks, hidden=hidden), torch.stack(rows))


def test_is_a_lora_for_each_task() -> None:
    per_task, hidden = make_per_task(rank=4, alpha=6), torch.randn(1, 3, 12)
    lora = Lora(LoraOptions(rank=4, alpha=6), tiny_site(), ())
    lora.load_state_dict({"down": per_task.down[1], "up": per_task.up[1]})
    seen = SiteInput(hidden, torch.zeros(1, 3, 16), None, TaskContext())

    torch.testing.assert_close(update(per_task, 1, hidden=hidden), lora(seen, None))


def test_beams_of_an_example_have_its_task() -> None:
    per_task, hidden = make_per_task(), torch.randn(4, 3, 12)
    context = TaskContext(TASKS)
    seen = SiteInput(hidden, torch.zeros(4, 3, 16), None, context)

    with context.serving(torch.tensor([2, 0])):
        beams = per_task(seen, None)

    torch.testing.assert_close(beams, update(per_task, 2, 2, 0, 0, hidden=hidden))


def bits(per_task: PerTask, task: int) -> list[Tensor]:
    return [per_task.down[task].detach().clone(), per_task.up[task].detach().clone()]


def test_a_task_absent_from_a_batch_moves_nowhere_whatever_the_optimizer_remembers() -> None:
    per_task = make_per_task(dropout=0.5)
    optimizer = torch.optim.AdamW(per_task.parameters(), lr=0.1, weight_decay=0.1)

    def step(*tasks: int) -> None:
        update(per_task, *tasks).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(0, 1, 2)
    before = {task: bits(per_task, task) for task in range(3)}
    step(2, 0, 2)

    for task, moved in ((0, True), (1, False), (2, True)):
        for now, old in zip(bits(per_task, task), before[task], strict=True):
            assert torch.equal(now, old) is not moved
        assert optimizer.state[per_task.up[task]]["step"].item() == 1 + moved


def test_tasks_start_apart_and_with_an_update_of_zero() -> None:
    torch.manual_seed(0)
    per_task = PerTask(PerTaskOptions(), tiny_site(), TASKS)

    assert not torch.equal(per_task.down[0], per_task.down[1])
    assert not update(per_task, 0, 1, 2).any()


def test_the_up_projections_of_all_tasks_are_the_up_factors() -> None:
    per_task = make_per_task(rank=4)

    assert per_task.up_factors.shape == (16, 3, 4)
    torch.testing.assert_close(per_task.up_factors[:, 1], per_task.up[1])


def test_rank_is_that_of_each_task() -> None:
    per_task = make_per_task(rank=5)

    assert [[*down.shape] for down in per_task.down] == [[5, 12]] * 3
    assert [[*up.shape] for up in per_task.up] == [[16, 5]] * 3


def test_alpha_scales_the_update() -> None:
    half = update(make_per_task(alpha=8), 0, 1)

    torch.testing.assert_close(half, update(make_per_task(alpha=16), 0, 1) / 2)


def test_dropout_drops_in_training_only() -> None:
    per_task, whole = make_per_task(dropout=0.5), update(make_per_task(), 0, 1)

    assert not torch.allclose(update(per_task.train(), 0, 1), whole)
    torch.testing.assert_close(update(per_task.eval(), 0, 1), whole)


def test_needs_the_task_of_each_row() -> None:
    seen = SiteInput(torch.randn(2, 3, 12), torch.zeros(2, 3, 16), None, TaskContext(TASKS))

    with pytest.raises(CompositionError, match="asks for the task of each example"):
        make_per_task()(seen, None)
