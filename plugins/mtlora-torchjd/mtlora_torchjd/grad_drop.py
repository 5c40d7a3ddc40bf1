"""One sign drawn for every number of the gradient, the other dropped."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchjd.aggregation import GradDrop

from mtlora_core.interfaces import GradientTransform

from .aggregated import Aggregated
from .options import GradDropOptions


def grad_drop(options: GradDropOptions, tasks: Sequence[str], groups: int) -> GradientTransform:
    """Return the sum, in every coordinate, of the gradients of one sign, drawn by their shares.

    Lines 10 to 15 of Algorithm 1 of Chen et al., "Just Pick a Sign: Optimizing Deep Multitask
    Models with Gradient Sign Dropout", https://arxiv.org/abs/2010.06808: the positive ones with
    probability ``(1 + Σ_t g_t / Σ_t |g_t|) / 2``. Where signs agree, this is joint training. The
    draws come from the recipe's seed and the step; groups of one size have the same.

    Where we depart: the paper drops gradients of activations, TorchJD and we those of parameters.
    """

    def aggregate(rows: Tensor) -> Tensor:
        return GradDrop(leak=rows.new_full((len(rows),), options.leak))(rows)

    return Aggregated(aggregate)
