"""Gradients over processes.

Adapters are small, so the model is never wrapped: gradients are summed over processes in one flat
call, which also serves parameters that a process did not use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..engine import Engine


def sum_gradients(parameters: Sequence[Tensor], engine: Engine) -> None:
    """Sum the gradients of ``parameters`` over processes, in place.

    One that a process did not use counts as 0 there. One that no process used has no gradient
    afterwards, as on a single process, so that the optimizer leaves it alone: a gradient of 0
    would let momentum and weight decay move it.
    """
    if engine.processes == 1:
        return
    used = torch.tensor([float(p.grad is not None) for p in parameters])
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = [used.to(grads[0]), *(grad.flatten() for grad in grads)]
    total = engine.sum(torch.cat(flat))
    anywhere, *parts = total.split([part.numel() for part in (used, *grads)])
    for parameter, users, part in zip(parameters, anywhere.tolist(), parts, strict=True):
        parameter.grad = part.view_as(parameter) if users else None
