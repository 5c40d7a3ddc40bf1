"""From a hidden state for each token to one for each input."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .options import Pooling


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``hidden`` ``[b, t, d]`` over real tokens as ``[b, d]``."""
    real = mask.to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, real) / real.sum(1, keepdim=True)


def cls(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return each input's first token."""
    return hidden[:, 0]


def last(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return each input's last real token; padding is on the right."""
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows, mask.sum(1) - 1]


POOLINGS: Mapping[Pooling, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean,
    "cls": cls,
    "last": last,
}
"""By the value of the option ``pooling``."""
