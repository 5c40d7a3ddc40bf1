"""A backbone with a task's adapter merged into its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from ..adapters import frozen_weight, is_transposed
from ..errors import CompositionError
from ..model import MultiTaskModel
from .matrices import ModuleFactors

WARN_ABOVE = 0.1
"""Share of an update that rounding may lose before it is worth a warning."""


def require_weights(found: Sequence[ModuleFactors]) -> None:
    """Raise unless every module's weight is one that can be added to.

    Raises:
        CompositionError: a weight is quantized.
    """
    problems = [
        f"{each.name}: its weight is quantized ({frozen_weight(each.module).dtype}), and adding to "
        "it would round the update away; export peft, or compose on the model unquantized"
        for each in found
        if not frozen_weight(each.module).is_floating_point()
    ]
    if problems:
        raise CompositionError(problems)


@torch.no_grad()
def write_merged(
    model: MultiTaskModel, found: Sequence[ModuleFactors], folder: Path, dtype: torch.dtype
) -> float:
    """Write the backbone with the updates in its weights; return what rounding lost.

    Weights and updates are added in float32.

    Args:
        model: Its adapters are detached while the backbone is copied.
        found: The update of each module.
        folder: Made already.
        dtype: Of the weights written.

    Returns:
        The Frobenius norm of what rounding to ``dtype`` changed in the adapted weights, over that
        of the update: 1 means that nothing of it is left for certain.
    """
    require_weights(found)
    copy = _bare_copy(model).float()
    lost = update = 0.0
    for each in found:
        before = frozen_weight(each.module).float()
        after = each.factors.merged(before)
        _set_weight(copy.get_submodule(each.name), after)
        lost += float((after.to(dtype).float() - after).square().sum())
        update += float((after - before).square().sum())
    model.backbone.save(copy.to(dtype), folder)
    return math.sqrt(lost / update) if update else 0.0


def _bare_copy(model: MultiTaskModel) -> nn.Module:
    model.adapters.detach()
    try:
        return deepcopy(model.backbone.module)
    finally:
        model.adapters.attach(model.backbone.module)


def _set_weight(module: nn.Module, weight: Tensor) -> None:
    own = module.get_parameter("weight")
    own.copy_(weight.T if is_transposed(module) else weight)
