"""The algebra of low-rank updates, once, for every part: ``linear``, and ``mix`` over experts.

No loop over experts and no ``[b, t, o]`` temporary per expert: weights of a model or a task mix
the factors first, weights of a token go onto the low-rank side, where an expert is ``r`` wide.
Experts with down-projections of their own have a low-rank side each, so all weights go there.

Parameters that enter through these two alone have gradients for every task at the price of joint
ones; see :attr:`mtlora_core.interfaces.Experts.segmented`.
"""

from __future__ import annotations

from torch import Tensor

from .interfaces import Routing
from .premixed import mixed, premixed_sum
from .segmented import linear
from .weighed import weighed_sum

__all__ = ["linear", "mix", "mixed", "side_by_side"]


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
        if routing.per in ("model", "task"):
            return premixed_sum(low, routing.weights, up, task_ids)
        low = low[:, :, None]
    weights = _of_tokens(routing, task_ids).expand(*low.shape[:2], -1, -1)
    return weighed_sum(low, weights, up)


def side_by_side(up: Tensor, weights: Tensor) -> Tensor:
    """Return every ``w_e B_e`` as ``[o, e * r]``, for experts with a down-projection each."""
    return (up * weights.to(up.dtype)[:, None]).flatten(1)


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
