"""The weighed sum of what experts make, where many tokens share their weights.

Then B is mixed first, once for the model or once a task, and no token has a low-rank side wider
than ``r``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .taskaxis import TaskLeaf, leaf_of


def mixed(up: Tensor, weights: Tensor) -> Tensor:
    r"""Return :math:`\sum_e w_e B_e` as ``[o, r]``.

    Args:
        up: ``[o, e, r]``.
        weights: ``[e]``.
    """
    return torch.einsum("oer,e->or", up, weights.to(up.dtype))


def premixed_sum(low: Tensor, weights: Tensor, up: Tensor, task_ids: Tensor | None) -> Tensor:
    r"""Return :math:`\sum_e w_e B_e h` for every token.

    Where the parameter ``up`` has a task axis in this step, its gradient goes to that, row by row.

    Args:
        low: ``[b, t, r]``, which the experts share.
        weights: ``[e]``, or ``[T, e]`` for each task its own.
        up: ``[o, e, r]``, the parameter itself: a view of it has no task axis.
        task_ids: ``[b]``, needed where the weights are per task.

    Returns:
        ``[b, t, o]``.
    """
    weights = weights.to(up.dtype)
    if (leaf := leaf_of(up)) is not None:
        return _by_segment(low, weights, up, leaf)
    if weights.dim() == 1:
        return functional.linear(low, mixed(up, weights))
    of_tasks = torch.einsum("oer,Te->Tro", up, weights)
    return torch.bmm(low, of_tasks.to(low.dtype)[task_ids])


def _by_segment(low: Tensor, weights: Tensor, up: Tensor, leaf: TaskLeaf) -> Tensor:
    """Apply each present task's mix to its rows, which are one segment of the batch."""
    # Not by an index, which would have to be brought to the device.
    of_all = weights.expand(len(leaf.axis.context.tasks), -1).unbind()
    own = torch.stack([of_all[task] for task in leaf.axis.tasks])
    mixes = _MixedOfTasks.apply(own, up.detach(), leaf.tensor)  # type: ignore[no-untyped-call]
    segments = zip(low.split(leaf.counts), mixes.unbind(), strict=True)
    return torch.cat([functional.linear(rows, mix) for rows, mix in segments])


class _MixedOfTasks(torch.autograd.Function):
    """Of ``[T, e]`` and ``[o, e, r]`` makes ``[T, o, r]``.

    The gradient of ``up`` goes to ``rows`` ``[T, o, e, r]``, whose values are not read: they are
    those of ``up``, T times, and a product would copy them.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, up: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(weights, up)
        return torch.einsum("oer,Te->Tor", up, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        weights, up = ctx.saved_tensors
        gradient = gradient.to(up.dtype)  # autocast is off in backward
        to_weights = to_rows = None
        if ctx.needs_input_grad[0]:
            to_weights = torch.einsum("Tor,oer->Te", gradient, up)
        if ctx.needs_input_grad[2]:
            to_rows = gradient[:, :, None] * weights[:, None, :, None]
        return to_weights, None, to_rows
