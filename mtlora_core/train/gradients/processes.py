"""Gradients and statistics over processes.

Adapters are small, so the model is never wrapped: what a step needs is summed over processes in
one flat call each, which also serves parameters that a process did not use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor


def sum_gradients(parameters: Sequence[Tensor], accelerator: Accelerator) -> None:
    """Sum the gradients of ``parameters`` over processes, in place.

    One that a process did not use counts as 0 there. One that no process used has no gradient
    afterwards, as on a single process, so that the optimizer leaves it alone: a gradient of 0
    would let momentum and weight decay move it.
    """
    if accelerator.num_processes == 1:
        return
    used = torch.tensor([float(p.grad is not None) for p in parameters])
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = [used.to(grads[0]), *(grad.flatten() for grad in grads)]
    total = accelerator.reduce(torch.cat(flat), "sum")
    anywhere, *parts = total.split([part.numel() for part in (used, *grads)])
    for parameter, users, part in zip(parameters, anywhere.tolist(), parts, strict=True):
        parameter.grad = part.view_as(parameter) if users else None


def sum_over_processes(values: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the sum of ``values`` over processes."""
    if accelerator.num_processes == 1:
        return values
    total = accelerator.reduce(values, "sum")
    assert isinstance(total, Tensor)
    return total
