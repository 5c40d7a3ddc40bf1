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
from .weighed import weighed_sum

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
    if low.dim() == 3:
        if routing.per in ("model", "task") and leaf_of(up) is None:
            # B is mixed into one, which has no rows.
            return _premixed(low, up, routing.weights.to(up.dtype), task_ids)
        low = low[:, :, None]
    weights = _of_tokens(routing, task_ids).expand(*low.shape[:2], -1, -1)
    return weighed_sum(low, weights, up)


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


def _of_tokens(routing: Routing, task_ids: Tensor | None) -> Tensor:
    """Return the weights as ``[b, t, g, e]``, an axis 1 long where they are the same along it."""
    weights = routing.weights
    match routing.per:
        case "model":
            return weights[None, None, None]
        case "task":
            return weights[task_ids][:, None, None]
        case "sequence":
            return weights[:, None, None]
        case "token" | "group":
            return weights
