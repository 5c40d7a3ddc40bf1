"""What learned routers share: a linear map, a softmax over the experts, a choice among them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mtlora_core.errors import CompositionError
from mtlora_core.lowrank import linear
from mtlora_core.options import RouterOptions


def fresh_weight(rows: int, d: int) -> nn.Parameter:
    """Return a bias-free linear map ``[rows, d]``, uniform in ±1/√d as in both released codes."""
    weight = nn.Parameter(torch.empty(rows, d))
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight


def gate(hidden: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return weights ``[b, t, g, e]`` that sum to one over the experts, in float32 or wider.

    Args:
        hidden: ``[b, t, d]``.
        weight: ``[g * e, d]``; row ``group * e + expert``.
        groups: ``g``.
    """
    logits: Tensor = linear(hidden, weight).unflatten(-1, (groups, -1))
    return shares(logits)


def shares(logits: Tensor) -> Tensor:
    """Return the softmax of ``logits`` ``[..., e]`` over the experts, in float32 or wider."""
    # In half precision the weights would not sum to one; float64 stays, for exact checks.
    return torch.softmax(logits, -1, torch.promote_types(logits.dtype, torch.float32))


def highest(scores: Tensor, k: int) -> Tensor:
    """Return where ``scores`` ``[..., e]`` are among the k highest; exactly k, also of equals."""
    chosen = scores.detach().topk(k, dim=-1, sorted=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, chosen, True)


def refuse_unfit(options: RouterOptions, experts: int) -> None:
    """Raise what ``options`` have against that many experts, where ``resolve`` could not know.

    Raises:
        CompositionError: every problem.
    """
    problems = [f"router.{name}: {reason}" for name, reason in options.count_problems(experts)]
    if problems:
        raise CompositionError(problems)
