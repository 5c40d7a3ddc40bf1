"""The two factors of a low-rank update: how they start, and the low-rank side."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtlora_core.lowrank import linear


def fresh_uniform(*shape: int) -> nn.Parameter:
    """Return factors of ``shape``, uniform in ±1/√width of what they read, the last axis.

    LoRA's paper draws A from a Gaussian; its code and those of its successors, which we follow,
    do this instead.
    """
    factors = torch.empty(shape)
    nn.init.kaiming_uniform_(factors.flatten(0, -2), a=math.sqrt(5))
    return nn.Parameter(factors)


def fresh_up(*shape: int) -> nn.Parameter:
    """Return B of ``shape``, zeros: the first update is exactly 0."""
    return nn.Parameter(torch.zeros(shape))


def low_rank(hidden: Tensor, down: Tensor, scale: float, dropout: float) -> Tensor:
    """Return ``scale · A drop(hidden)``; a ``dropout`` of 0 drops nothing.

    The scale goes here, where a token is only ``r`` wide.

    Args:
        hidden: ``[b, t, d]``.
        down: ``[r, d]``, or ``[e, r, d]`` where every expert has its own.
        scale: Factor of the result.
        dropout: Probability of dropping a coordinate, the same for all experts.

    Returns:
        ``[b, t, r]``, or ``[b, t, e, r]``.
    """
    if dropout:
        hidden = functional.dropout(hidden, dropout)
    low = linear(hidden, down) * scale
    split: Tensor = low.unflatten(-1, down.shape[:-1])
    return split
