"""The algebra that mixes experts, once, for every part.

No loop over experts and no ``[b, t, o]`` temporary per expert: weights of a model or a task mix
the factors first, weights of a token go onto the low-rank side, where an expert is ``r`` wide.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .interfaces import Routing


def mix(low: Tensor, up: Tensor, routing: Routing, task_ids: Tensor | None = None) -> Tensor:
    r"""Return :math:`\sum_e w_e B_e h`, the weighted sum of what the experts make of ``low``.

    Args:
        low: ``[b, t, r]``, the tokens after the shared down-projection, already scaled.
        up: ``[o, e, r]``, the experts' up-projections; this order makes every view below free.
        routing: The weights; see :class:`~mtlora_core.interfaces.Routing` for their shapes.
        task_ids: ``[b]``, needed where the weights are per task.

    Returns:
        ``[b, t, o]``.
    """
    weights = routing.weights.to(low.dtype)
    match routing.per:
        case "model":
            return functional.linear(low, torch.einsum("oer,e->or", up, weights.to(up.dtype)))
        case "task":
            assert task_ids is not None, "weights per task need the task of each row"
            mixed = torch.einsum("oer,Te->Tro", up, weights.to(up.dtype))
            return torch.bmm(low, mixed.to(low.dtype)[task_ids])
        case "sequence":
            return _weighted(low, up, weights[:, None, :])
        case "token":
            return _weighted(low, up, weights[:, :, 0])
        case "group":
            return _grouped(low, up, weights)


def _weighted(low: Tensor, up: Tensor, weights: Tensor) -> Tensor:
    """One GEMM on ``w ⊗ Ax``; ``weights`` is ``[b, t or 1, e]``. Methods, G(i)."""
    spread = (weights[..., None] * low[..., None, :]).flatten(-2)  # [b, t, e * r]
    return functional.linear(spread, up.flatten(1))


def _grouped(low: Tensor, up: Tensor, weights: Tensor) -> Tensor:
    """One batched GEMM over groups of output dimensions; ``weights`` is ``[b, t, g, e]``. G(ii)."""
    groups = weights.shape[2]
    spread = (weights[..., None] * low[:, :, None, None, :]).flatten(-2)  # [b, t, g, e * r]
    grouped = up.flatten(1).unflatten(0, (groups, -1))  # [g, o / g, e * r]
    update = torch.einsum("btgk,gmk->btgm", spread, grouped)
    return update.flatten(2)
