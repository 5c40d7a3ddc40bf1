"""What a task's outputs are compared with, and how much each example counts in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tasks import Task

Average = Literal["examples", "tasks"]
"""Whether every example of a step counts alike, or every task that is present."""


def example_losses(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each example of one task as ``[n]`` in float32, in the graph.

    Cross-entropy for classification, the squared error for regression. A class's weight is a
    factor of its examples' losses and is not normalised by the weights that happen to be in the
    batch, unlike ``weight`` of :func:`torch.nn.functional.cross_entropy` with its default
    reduction: an example's part in the gradient does not depend on what it is drawn with.

    Args:
        task: Whose outputs they are.
        outputs: ``[n, outputs]``, logits or one number.
        labels: ``[n]``, class indices or numbers.
    """
    if task.objective == "regression":
        return (outputs.float().squeeze(-1) - labels.float()) ** 2
    weight = None
    if task.class_weights is not None:
        weight = torch.tensor(task.class_weights, device=outputs.device)
    return F.cross_entropy(outputs.float(), labels.long(), weight=weight, reduction="none")


def shares(average: Average, counts: Mapping[str, int], tasks: Sequence[Task]) -> dict[str, float]:
    """Return, by task, the factor of each of its examples' losses in the loss of a step.

    The loss of a step is the sum of factor times loss over all its examples, so forwards and
    processes only ever add, and task t's row, the gradient of its examples' part of that sum,
    adds with the other rows to the gradient of joint training. With ``w_t`` the task's weight,
    ``n_t`` its examples and ``P`` the tasks that have any:

    - ``examples``: ``w_t / sum(n)``, the mean over examples;
    - ``tasks``: ``w_t / (n_t P)``, the mean over tasks of their means.

    A task without examples gets 0.

    Args:
        average: Which of the two.
        counts: Examples of each task in the whole optimizer step: all its forwards, on all
            processes.
        tasks: The tasks, with their weights.
    """
    total = sum(counts.values())
    present = sum(count > 0 for count in counts.values())
    divisors = {
        name: total if average == "examples" else count * present for name, count in counts.items()
    }
    return {
        task.name: task.weight / divisors[task.name] if counts.get(task.name) else 0.0
        for task in tasks
    }


def predictions(task: Task, outputs: Tensor) -> Tensor:
    """Return the answers to ``n`` examples as ``[n]``: the likeliest classes, or the numbers."""
    return outputs.float().squeeze(-1) if task.objective == "regression" else outputs.argmax(-1)
