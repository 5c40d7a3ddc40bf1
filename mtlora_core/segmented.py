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


def linear(inputs: Tensor, weight: Tensor, *shape: int) -> Tensor:
    """Return ``weight @ inputs`` for every token, with a gradient row a task where one is wanted.

    Where the parameter ``weight`` has a task axis in this step, its gradient goes to that, row by
    row; otherwise this is :func:`torch.nn.functional.linear`, or its like for groups.

    Args:
        inputs: ``[b, …, i]``, or ``[b, …, g, i]`` for groups; rows of the batch come first.
        weight: A parameter itself, not a view of it: a view has no task axis.
        shape: How the map reads ``weight``: ``(o, i)``, or ``(g, m, i)`` for groups; left out, its
            last axis is ``i`` and all before it ``o``.

    Returns:
        ``[b, …, o]``, or ``[b, …, g, m]`` for groups.
    """
    leaf = leaf_of(weight)
    if leaf is None:
        return _product(inputs, weight.reshape(shape) if shape else weight.flatten(0, -2))
    kind = inputs.device.type
    if torch.is_autocast_enabled(kind):
        inputs = inputs.to(torch.get_autocast_dtype(kind))
    tasks, one = len(leaf.slices), weight.detach()
    rows = leaf.tensor.reshape(tasks, *shape) if shape else leaf.tensor.flatten(1, -2)
    one = one.reshape(shape) if shape else one.flatten(0, -2)
    mapped: Tensor = _Segmented.apply(inputs, one, rows, leaf.counts)  # type: ignore[no-untyped-call]
    return mapped


class _Segmented(torch.autograd.Function):
    """``weight @ inputs``; the gradient of the weight is ``[T, *shape]``."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, rows: Tensor, counts: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.counts, ctx.dtype = counts, rows.dtype
        return _product(inputs, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        inputs, weight = ctx.saved_tensors
        # Without autocast, which is off in backward: what ran in half precision stays there.
        weight = weight.to(gradient.dtype)
        to_inputs = rows = None
        if ctx.needs_input_grad[0]:
            to_inputs = _product(gradient, weight.mT)
        if ctx.needs_input_grad[2]:
            rows = weight_rows(gradient, inputs, ctx.counts, weight.dim()).to(ctx.dtype)
        return to_inputs, None, rows, None


def weight_rows(gradient: Tensor, inputs: Tensor, counts: Sequence[int], dims: int) -> Tensor:
    """Return each task's ``Σ_p δ_p x_pᵀ`` as ``[T, o, i]``, or ``[T, g, m, i]``.

    Args:
        gradient: δ, ``[b, …, o]`` or ``[b, …, g, m]``.
        inputs: x, ``[b, …, i]`` or ``[b, …, g, i]``.
        counts: Rows of each of the T tasks, in order; 0 gives a row of zeros.
        dims: 2 without groups, 3 with them.
    """
    deltas, read = gradient.flatten(0, -dims), inputs.flatten(0, -dims)
    tokens = read.shape[0] // sum(counts)
    sizes = [tokens * count for count in counts]
    rows = read.new_empty(len(counts), *deltas.shape[1:], read.shape[-1])
    for row, delta, token in zip(rows, deltas.split(sizes), read.split(sizes), strict=True):
        if dims == 2:
            torch.mm(delta.T, token, out=row)
        else:
            torch.bmm(delta.permute(1, 2, 0), token.transpose(0, 1), out=row)
    return rows


def _product(inputs: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() == 2:
        return functional.linear(inputs, weight)
    return torch.einsum("...gi,gmi->...gm", inputs, weight)
