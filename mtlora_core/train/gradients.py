"""Gradients and statistics over processes.

Adapters are small, so the model is never wrapped: what a step needs is summed over processes in
one flat call each, which also serves parameters that a process did not use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn


def sum_gradients(parameters: Sequence[nn.Parameter], accelerator: Accelerator) -> None:
    """Sum the gradients of ``parameters`` over processes, in place; unused ones count as 0."""
    if accelerator.num_processes == 1:
        return
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    total = accelerator.reduce(torch.cat([grad.flatten() for grad in grads]), "sum")
    sizes = [p.numel() for p in parameters]
    for parameter, part in zip(parameters, total.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)


def sum_over_processes(values: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the sum of ``values`` over processes."""
    if accelerator.num_processes == 1:
        return values
    total = accelerator.reduce(values, "sum")
    assert isinstance(total, Tensor)
    return total
