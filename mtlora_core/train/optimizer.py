"""AdamW over adapters and heads, and its learning-rate schedule."""

from __future__ import annotations

import math

from torch.optim import AdamW

from ..model import MultiTaskModel
from ..recipe import TrainOptions


def make_optimizer(model: MultiTaskModel, options: TrainOptions) -> AdamW:
    """Return AdamW with one group for adapters and routers and one for heads."""
    head_rate = options.head_learning_rate or options.learning_rate
    groups = [
        {"params": [*model.adapters.parameters()], "lr": options.learning_rate},
        {"params": [*model.heads.parameters()], "lr": head_rate},
    ]
    for group in groups:
        group["base"] = group["lr"]
    return AdamW(groups, weight_decay=options.weight_decay)


def factor(options: TrainOptions, step: int, steps: int) -> float:
    """Return the learning rate's factor at optimizer step ``step`` of ``steps``, from 0.

    It rises linearly over the first ``warmup * steps`` steps, then falls to 0 at ``steps``
    linearly or along a half cosine, or stays.
    """
    warm = options.warmup * steps
    if step < warm:
        return (step + 1) / (math.floor(warm) + 1)
    done = (step - warm) / max(steps - warm, 1)
    match options.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))


def set_rate(optimizer: AdamW, options: TrainOptions, step: int, steps: int) -> float:
    """Set the learning rates of a step and return that of the adapters."""
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor(options, step, steps)
    return float(optimizer.param_groups[0]["lr"])
