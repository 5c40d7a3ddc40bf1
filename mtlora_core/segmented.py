"""A linear map whose backward pass gives the gradient of its weight for every task apart.

With the batch ordered by task, the joint gradient of a weight, ``Σ_p δ_p x_pᵀ`` over tokens, is
the sum of one such product a segment; they cost together what the one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .taskaxis import leaf_of


def linear(inputs: Tensor, weight: Tensor) -> Tensor:
    """Return ``weight @ inputs`` for every token, with a gradient row a task where one is wanted.

    Where the parameter ``weight`` has a task axis in this step, its gradient goes to that, row by
    row; otherwise this is :func:`torch.nn.functional.linear`.

    Args:
        inputs: ``[b, …, i]``; rows of the batch come first.
        weight: ``[…, i]``, a parameter itself: a view of it has no task axis. All before its last
            axis is ``o``.

    Returns:
        ``[b, …, o]``.
    """
    leaf = leaf_of(weight)
    if leaf is None:
        return functional.linear(inputs, weight.flatten(0, -2))
    kind = inputs.device.type
    if torch.is_autocast_enabled(kind):
        inputs = inputs.to(torch.get_autocast_dtype(kind))
    one, rows = weight.detach().flatten(0, -2), leaf.tensor.flatten(1, -2)
    mapped: Tensor = _Segmented.apply(inputs, one, rows, leaf.counts)  # type: ignore[no-untyped-call]
    return mapped


class _Segmented(torch.autograd.Function):
    """``weight @ inputs``; the gradient of the weight is ``[T, o, i]``."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, rows: Tensor, counts: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.counts, ctx.dtype = counts, rows.dtype
        return functional.linear(inputs, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        inputs, weight = ctx.saved_tensors
        # Without autocast, which is off in backward: what ran in half precision stays there.
        weight = weight.to(gradient.dtype)
        to_inputs = rows = None
        if ctx.needs_input_grad[0]:
            to_inputs = functional.linear(gradient, weight.T)
        if ctx.needs_input_grad[2]:
            rows = weight_rows(gradient, inputs, ctx.counts).to(ctx.dtype)
        return to_inputs, None, rows, None


def weight_rows(gradient: Tensor, inputs: Tensor, counts: Sequence[int]) -> Tensor:
    """Return each task's ``Σ_p δ_p x_pᵀ`` as ``[T, o, i]``.

    Args:
        gradient: δ, ``[b, …, o]``.
        inputs: x, ``[b, …, i]``.
        counts: Rows of each of the T tasks, in order; 0 gives a row of zeros.
    """
    deltas, read = gradient.flatten(0, -2), inputs.flatten(0, -2)
    tokens = read.shape[0] // sum(counts)
    sizes = [tokens * count for count in counts]
    rows = read.new_empty(len(counts), deltas.shape[-1], read.shape[-1])
    for row, delta, token in zip(rows, deltas.split(sizes), read.split(sizes), strict=True):
        torch.mm(delta.T, token, out=row)
    return rows
