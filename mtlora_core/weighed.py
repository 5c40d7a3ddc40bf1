"""The weighed sum of what experts make, whose backward pass needs only what went in.

One product with ``w ⊗ h``, ``e · r`` wide, serves all experts; autograd would keep that for the
gradient of B. It is cheaper to form than to keep: here it is formed anew in backward, for some of
the tokens and one group of outputs at a time, and every product reads and writes its group in
place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .taskaxis import leaf_of

PIECE = 2**18
"""Numbers of ``w ⊗ h`` that are there at a time; in float32, 1 MB."""
LARGE_PIECE = 2**25
"""Likewise on a GPU, which has no such cache to stay in, and where every piece costs launches."""


def weighed_sum(low: Tensor, weights: Tensor, up: Tensor) -> Tensor:
    r"""Return :math:`\sum_e w_e B_e h_e` for every token and group of output dimensions.

    Where the parameter ``up`` has a task axis in this step, its gradient goes to that, row by row.
    Can be differentiated once, not twice, and not under ``torch.vmap``.

    Args:
        low: ``[b, t, e, r]``, or ``[b, t, 1, r]`` where the experts share one.
        weights: ``[b, t, g, e]``.
        up: ``[o, e, r]``, the parameter itself: a view of it has no task axis.

    Returns:
        ``[b, t, o]``, in the dtype of ``up``, or autocast's.
    """
    kind, leaf = low.device.type, leaf_of(up)
    half = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if half else up.dtype
    low, weights = low.to(dtype), weights.to(dtype)
    of_tokens = low.flatten(0, 1), weights.flatten(0, 1)
    if leaf is None:
        flat: Tensor = _WeighedSum.apply(*of_tokens, up, None, None)  # type: ignore[no-untyped-call]
    else:
        sizes = [count * low.shape[1] for count in leaf.counts]
        flat = _WeighedSum.apply(*of_tokens, up.detach(), leaf.tensor, sizes)  # type: ignore[no-untyped-call]
    summed: Tensor = flat.unflatten(0, low.shape[:2])
    return summed


class _WeighedSum(torch.autograd.Function):
    """Of ``[n, e or 1, r]``, ``[n, g, e]`` and ``[o, e, r]`` makes ``[n, o]``.

    The gradient of ``up`` goes to ``rows`` ``[T, o, e, r]`` where they are given; ``sizes`` then
    says how many of the tokens are each task's.
    """

    @staticmethod
    def forward(
        ctx: Any,
        low: Tensor,
        weights: Tensor,
        up: Tensor,
        rows: Tensor | None,
        sizes: Sequence[int] | None,
    ) -> Tensor:
        ctx.save_for_backward(low, weights, up)
        ctx.sizes, groups = sizes or [len(low)], weights.shape[1]
        maps = _by_group(up.to(low.dtype), groups)
        total = low.new_empty(len(low), groups, maps.shape[1])
        for tokens, group in _tiles(len(low), maps):
            spread = _spread(low[tokens], weights[tokens, group])
            torch.mm(spread, maps[group].T, out=total[tokens, group])
        return total.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        low, weights, up = ctx.saved_tensors
        _, weights_too, joint, by_task, _ = ctx.needs_input_grad
        groups = weights.shape[1]
        maps, deltas = _by_group(up.to(low.dtype), groups), gradient.unflatten(1, (groups, -1))
        to_low = torch.zeros_like(low)
        to_weights = torch.empty_like(weights) if weights_too else None
        # Summed in the parameter's precision, also where products are in half.
        to_up = _room(up, maps, ctx.sizes)
        for tokens, group in _tiles(len(low), maps):
            here, delta = (tokens, group), deltas[tokens, group]
            spread = _spread(low[tokens], weights[here])
            if joint or by_task:
                for row, own, first in _rows_of(tokens, ctx.sizes):
                    _add_product(to_up[row, group], delta[own].T, spread[own], first)
            back = torch.mm(delta, maps[group], out=spread).unflatten(1, up.shape[1:])
            if to_weights is not None:
                torch.sum(back * low[tokens], -1, out=to_weights[here])
            to_low[tokens] += back.mul_(weights[here][..., None]).sum_to_size(low[tokens].shape)
        to_rows = to_up.view(-1, *up.shape)
        return to_low, to_weights, to_rows[0] if joint else None, to_rows if by_task else None, None


def _tiles(count: int, maps: Tensor) -> Iterator[tuple[slice, int]]:
    """Yield some of the tokens and one group of outputs, until all were there."""
    groups, _, width = maps.shape
    numbers = PIECE if maps.device.type == "cpu" else LARGE_PIECE
    piece = max(numbers // width, 1)
    for start in range(0, count, piece):
        for group in range(groups):
            yield slice(start, min(start + piece, count)), group


def _rows_of(tokens: slice, sizes: Sequence[int]) -> Iterator[tuple[int, slice, bool]]:
    """Yield each row of gradients that some of the tokens belong to.

    With it, which of those tokens are its own, and whether they are its first.
    """
    for row, end in enumerate(accumulate(sizes)):
        begin = end - sizes[row]
        start, stop = max(begin, tokens.start), min(end, tokens.stop)
        if start < stop:
            yield row, slice(start - tokens.start, stop - tokens.start), start == begin


def _room(up: Tensor, maps: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return ``[T, g, m, e * r]`` for the rows of gradients, 0 where a row has no tokens."""
    room = up.new_empty(len(sizes), *maps.shape)
    for row, size in zip(room, sizes, strict=True):
        if not size:
            row.zero_()
    return room


def _by_group(up: Tensor, groups: int) -> Tensor:
    """Return ``[o, e, r]`` as ``[g, m, e * r]``, a view of a parameter."""
    return up.reshape(groups, -1, up.shape[1] * up.shape[2])


def _spread(low: Tensor, weights: Tensor) -> Tensor:
    """Return ``w ⊗ h``, or every ``w_e h_e``, as ``[n, e * r]``, in memory of its own."""
    return (weights[..., None] * low).flatten(1)


def _add_product(total: Tensor, left: Tensor, right: Tensor, first: bool) -> None:
    """Add ``left @ right`` to ``total``, or put it there where it is the first."""
    if total.dtype == left.dtype:
        torch.addmm(total, left, right, beta=0 if first else 1, out=total)
    elif first:
        total.copy_(left @ right)
    else:
        total += left @ right
