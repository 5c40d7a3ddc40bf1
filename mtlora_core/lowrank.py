"""The algebra of low-rank updates, once, for every part: ``linear``, and ``mix`` over experts.

No loop over experts and no ``[b, t, o]`` temporary per expert: weights of a model or a task mix
the factors first, weights of a token go onto the low-rank side, where an expert is ``r`` wide.
Experts with down-projections of their own have a low-rank side each, so all weights go there.

Parameters that enter through these two alone have gradients for every task at the price of joint
ones; see :attr:`mtlora_core.interfaces.Experts.segmented`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .interfaces import Routing
from .segmented import linear
from .taskaxis import leaf_of

__all__ = ["linear", "mix"]


def mix(low: Tensor, up: Tensor, routing: Routing, task_ids: Tensor | None = None) -> Tensor:
    r"""Return :math:`\sum_e w_e B_e h_e`, the weighted sum of what the experts make of ``low``.

    Args:
        low: The tokens after the down-projection, already scaled: ``[b, t, r]`` where the experts
            share one, ``[b, t, e, r]`` where each has its own.
        up: ``[o, e, r]``, the experts' up-projections; this order makes every view below free.
        routing: The weights; see :class:`~mtlora_core.interfaces.Routing` for their shapes.
        task_ids: ``[b]``, needed where the weights are per task.

    Returns:
        ``[b, t, o]``.
    """
    assert routing.per != "task" or task_ids is not None, "weights per task need each row's task"
    weights = routing.weights.to(low.dtype)
    premixable = low.dim() == 3 and routing.per in ("model", "task")
    if premixable and leaf_of(up) is None:  # B is mixed into one that has no rows
        return _premixed(low, up, routing.weights.to(up.dtype), task_ids)
    own = low if low.dim() == 4 else low[..., None, :]  # [b, t, e or 1, r]
    match routing.per:
        case "group":
            return _grouped(own, up, weights)
        case "task":
            weights = weights[task_ids][:, None]
        case "sequence":
            weights = weights[:, None]
        case "token":
            weights = weights[:, :, 0]
    return linear(_spread(own, weights), up, up.shape[0], -1)


def mixed(up: Tensor, weights: Tensor) -> Tensor:
    r"""Return :math:`\sum_e w_e B_e` as ``[o, r]``.

    Args:
        up: ``[o, e, r]``.
        weights: ``[e]``.
    """
    return torch.einsum("oer,e->or", up, weights.to(up.dtype))


def side_by_side(up: Tensor, weights: Tensor) -> Tensor:
    """Return every ``w_e B_e`` as ``[o, e * r]``, for experts with a down-projection each."""
    return (up * weights.to(up.dtype)[:, None]).flatten(1)


def _premixed(low: Tensor, up: Tensor, weights: Tensor, task_ids: Tensor | None) -> Tensor:
    """Mix B once, or once a task; ``weights`` is ``[e]`` or ``[T, e]``."""
    if weights.dim() == 1:
        return functional.linear(low, mixed(up, weights))
    of_tasks = torch.einsum("oer,Te->Tro", up, weights)
    return torch.bmm(low, of_tasks.to(low.dtype)[task_ids])


def _spread(own: Tensor, weights: Tensor) -> Tensor:
    """Return ``w ⊗ Ax``, or every ``w_e A_e x``, as ``[..., e * r]``; one GEMM does the rest.

    ``own`` is ``[..., e or 1, r]``, ``weights`` ``[..., e]``; what stands before broadcasts.
    """
    return (weights[..., None] * own).flatten(-2)


def _grouped(own: Tensor, up: Tensor, weights: Tensor) -> Tensor:
    """One batched GEMM over groups of output dimensions; ``weights`` is ``[b, t, g, e]``."""
    groups = weights.shape[2]
    spread = _spread(own[:, :, None], weights)  # [b, t, g, e * r]
    update = linear(spread, up, groups, -1, up.shape[1] * up.shape[2])
    return update.flatten(2)
