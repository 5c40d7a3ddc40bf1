"""What breaks the contract in what a part gives at a step, in words; None where nothing does.

Training and the suites of :mod:`mtlora_core.testing` ask the same, so that a part which passes its
suite is one that trains.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .interfaces import StepLosses, TaskGradients


def gradients_fault(given: object, gradients: TaskGradients) -> str | None:
    """Return what is wrong with what a transform made of finite task gradients."""
    if not (isinstance(given, Sequence) and all(isinstance(v, Tensor) for v in given)):
        return f"a {type(given).__name__}, and a sequence of tensors is expected"
    expected = [[sum(own.shape[1] for own in group)] for group in gradients.groups]
    shapes = [[*each.shape] for each in given]
    if shapes != expected:
        return f"tensors of shapes {shapes}, and {expected} are expected"
    row = gradients.groups[0][0]
    for each in given:
        if (each.dtype, each.device) != (row.dtype, row.device):
            return f"{each.dtype} on {each.device} for rows in {row.dtype} on {row.device}"
    # A sum is finite where all is, since the squares were: one kernel a group, and one question.
    if not torch.stack([each.sum() for each in given]).isfinite().all():
        return "a gradient that is not finite, of task gradients that are"
    return None


def weights_fault(given: object, step: StepLosses, *, known: bool) -> str | None:
    """Return what is wrong with a weighting's weights of a step.

    Args:
        given: The weights.
        step: What the weighting was given.
        known: Whether it was given the step's losses; of those that are not finite, any weights
            may be made.
    """
    if not isinstance(given, Tensor) or given.shape != step.losses.shape:
        shape = [*given.shape] if isinstance(given, Tensor) else given
        return f"{shape}, and a tensor of shape {[*step.losses.shape]} is expected"
    sound = not known or bool(step.losses.isfinite().all())
    if sound and not given.isfinite().all():
        return f"{given.tolist()}, and finite weights are expected"
    return None
