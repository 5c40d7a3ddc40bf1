from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import mtlora_regularizers
from mtlora_core.testing import check_transform, described, task_gradients
from mtlora_regularizers.grad_norm import GradNorm
from mtlora_regularizers.options import GradNormOptions

TASKS = ("first", "second", "third", "fourth")


def built(groups: int = 1, **options: Any) -> GradNorm:
    return GradNorm(GradNormOptions.model_validate(options), TASKS, groups)


def draw(step: int, tasks: int = 4, size: int = 7) -> tuple[Tensor, Tensor]:
    """Return rows and losses of a step; the first task's gradients are the longest."""
    generator = torch.Generator().manual_seed(step)
    lengths = torch.arange(tasks, 0, -1)[:, None] ** 2
    rows = torch.randn(tasks, size, generator=generator).double() * lengths
    return rows, torch.rand(tasks, generator=generator).double() + 0.2


class Slow:
    """GradNorm by Algorithm 1, one task at a time, L_grad differentiated by autograd."""

    def __init__(self, alpha: float = 1.5, rate: float = 0.025) -> None:
        self.alpha = alpha
        self.first: Tensor | None = None
        self.weights = torch.nn.Parameter(torch.ones(4).double())
        self.adam = torch.optim.Adam([self.weights], lr=rate)

    def __call__(self, rows: Tensor, losses: Tensor) -> Tensor:
        """Return the gradient of a step."""
        self.first = losses if self.first is None else self.first
        gradient = sum(w * row for w, row in zip(self.weights.detach(), rows, strict=True))
        norms = [(self.weights[t] * rows[t]).norm() for t in range(4)]
        mean = (sum(norms) / 4).detach()
        ratios = losses / self.first
        rates = ratios / ratios.mean()
        apart = sum((norms[t] - mean * rates[t] ** self.alpha).abs() for t in range(4))
        self.adam.zero_grad()
        apart.backward()
        self.adam.step()
        with torch.no_grad():
            self.weights.mul_(4 / self.weights.sum())
        assert isinstance(gradient, Tensor)
        return gradient


def test_keeps_the_contract_of_a_transform() -> None:
    check_transform(described(mtlora_regularizers, "regularizer", "grad-norm"))


@pytest.mark.parametrize("options", [{}, {"alpha": 0.0}, {"alpha": 0.5, "learning_rate": 0.04}])
def test_agrees_with_the_slow_obvious_sum(options: Mapping[str, Any]) -> None:
    transform = built(2, **options)
    slow = [Slow(options.get("alpha", 1.5), options.get("learning_rate", 0.025)) for _ in range(2)]

    for step in range(30):
        rows, losses = draw(step)
        other = rows.flip(0)[:, :5]
        ours = transform(task_gradients([[rows[:, :3], rows[:, 3:]], [other]], losses=losses))
        torch.testing.assert_close(ours[0], slow[0](rows, losses))
        torch.testing.assert_close(ours[1], slow[1](other, losses))

    assert (transform.weights.value - 1).abs().max() > 0.2


def test_begins_with_joint_training() -> None:
    rows, losses = draw(0)

    torch.testing.assert_close(
        built()(task_gradients([[rows]], losses=losses))[0], rows.sum(0), rtol=0, atol=0
    )


def test_gradients_become_equally_long_where_nobody_is_to_be_favoured() -> None:
    transform, rows = built(alpha=0.0), draw(0)[0]
    for _ in range(500):
        transform(task_gradients([[rows]]))

    lengths = transform.weights.value[0] * rows.norm(dim=1)
    torch.testing.assert_close(lengths, lengths.mean().expand(4), rtol=0.15, atol=0)


def test_who_is_behind_gets_more() -> None:
    transform, rows = built(), torch.eye(4).double()
    transform(task_gradients([[rows]]))
    for _ in range(20):
        slow = torch.tensor([0.5, 0.5, 1.0, 0.5]).double()
        transform(task_gradients([[rows]], losses=slow))

    weights = transform.weights.value[0].tolist()
    assert weights[2] > 1.2
    assert max(weights[0], weights[1], weights[3]) < 1


def steps(transform: GradNorm, tasks: Sequence[int], count: int = 10) -> None:
    for step in range(count):
        rows, losses = draw(step, len(tasks))
        transform(task_gradients([[rows]], tasks, losses=losses))


def test_of_an_absent_task_all_stays_and_weights_keep_their_sum() -> None:
    transform = built()
    steps(transform, range(4))
    before = {name: value.clone() for name, value in transform.state_dict().items()}
    steps(transform, (0, 2))

    for name, value in transform.state_dict().items():
        assert torch.equal(value[..., [1, 3]], before[name][..., [1, 3]])
    assert not torch.equal(transform.weights.value, before["weights.value"])
    assert transform.weights.value.sum().item() == pytest.approx(4)


def test_a_task_is_measured_by_the_first_loss_that_it_had() -> None:
    transform = built()
    steps(transform, (0, 2), count=1)
    early = transform.first.clone()
    steps(transform, range(4))

    assert torch.equal(transform.first[[0, 2]], early[[0, 2]])
    assert early[[1, 3]].tolist() == [0, 0]
    assert transform.first[[1, 3]].min() > 0


def test_a_weight_never_turns_a_gradient_round() -> None:
    transform = built(learning_rate=5.0)
    steps(transform, range(4), count=20)

    assert transform.weights.value.min() > 0
    assert transform.weights.value.sum().item() == pytest.approx(4)


@pytest.mark.parametrize("change", [{"alpha": 0.1}, {"learning_rate": 0.1}], ids=str)
def test_every_option_changes_the_result(change: Mapping[str, Any]) -> None:
    usual, changed = built(), built(**change)
    for transform in (usual, changed):
        steps(transform, range(4))

    assert (usual.weights.value - changed.weights.value).abs().max() > 1e-3
    assert GradNormOptions().scope == "global"
