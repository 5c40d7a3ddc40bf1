"""The two factors of a low-rank update: how they start, and the low-rank side."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def fresh_down(rank: int, d: int) -> nn.Parameter:
    """Return A as ``[r, d]``, uniform in ±1/√d.

    LoRA's paper draws A from a Gaussian; its code and those of its successors, which we follow,
    do this instead.
    """
    down = nn.Parameter(torch.empty(rank, d))
    nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    return down


def fresh_up(*shape: int) -> nn.Parameter:
    """Return B of ``shape``, zeros: the first update is exactly 0."""
    return nn.Parameter(torch.zeros(shape))


def low_rank(hidden: Tensor, down: Tensor, scale: float, dropout: float) -> Tensor:
    """Return ``scale · A drop(hidden)``, ``[b, t, r]``; a ``dropout`` of 0 drops nothing.

    The scale goes here, where a token is only ``r`` wide.
    """
    if dropout:
        hidden = functional.dropout(hidden, dropout)
    return functional.linear(hidden, down) * scale
