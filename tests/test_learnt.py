"""Numbers that a regularizer learns: Adam's, each with its own steps."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlora_core.learnt import Learnt


def gradient(step: int) -> Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(step)).double() * 10.0**-step


def test_moves_as_torch_s_adam_does() -> None:
    learnt = Learnt(torch.ones(2, 4), rate=0.1)
    parameter = torch.nn.Parameter(torch.ones(2, 4).double())
    adam = torch.optim.Adam([parameter], lr=0.1)

    for step in range(6):
        learnt.descend(..., gradient(step))
        parameter.grad = gradient(step)
        adam.step()

    torch.testing.assert_close(learnt.value, parameter.data)


def test_what_a_step_leaves_out_stays_and_counts_its_own_steps() -> None:
    learnt, alone = Learnt(torch.ones(2, 4), rate=0.1), Learnt(torch.ones(2, 2), rate=0.1)
    at = torch.tensor([0, 1])[:, None], torch.tensor([1, 3])
    for step in range(9):
        learnt.descend((slice(None), [0, 2]), gradient(step)[:, :2])

    for step in range(4):
        before = {name: value.clone() for name, value in learnt.state_dict().items()}
        learnt.descend(at, gradient(step)[:, :2])
        alone.descend(..., gradient(step)[:, :2])
        for name, value in learnt.state_dict().items():
            assert torch.equal(value[:, [0, 2]], before[name][:, [0, 2]])

    assert torch.equal(learnt.value[at], alone.value)
