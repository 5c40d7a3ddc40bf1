"""What a task's outputs are compared with, and how much each example counts in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..recipe import Average
from ..tasks import Task


def example_losses(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each example of one task as ``[n]`` in float32, in the graph.

    Cross-entropy for classification, the squared error for regression, and for a causal task the
    mean cross-entropy of the answer's tokens. A class's weight is a
    factor of its examples' losses and is not normalised by the weights that happen to be in the
    batch, unlike ``weight`` of :func:`torch.nn.functional.cross_entropy` with its default
    reduction: an example's part in the gradient does not depend on what it is drawn with.

    Args:
        task: Whose outputs they are.
        outputs: ``[n, outputs]``, logits or one number; of a causal task the log-likelihood of
            the answer.
        labels: ``[n]``, class indices or numbers; of a causal task the tokens of the answer.
    """
    if task.objective == "causal":
        return -outputs.float().squeeze(-1) / labels
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
    - ``tasks``: ``w_t / (n_t P)``, the mean over tasks of their means;
    - ``tokens``: ``w_t / sum(n)`` with ``n`` in tokens to say, the mean over tokens where each
      example's loss is counted as often as it has such tokens.

    A task without examples gets 0.

    Args:
        average: Which of the three.
        counts: Examples of each task, or their tokens to say for ``tokens``, in the whole
            optimizer step: all its forwards, on all processes.
        tasks: The tasks, with their weights.
    """
    total = sum(counts.values())
    present = sum(count > 0 for count in counts.values())
    divisors = {
        name: count * present if average == "tasks" else total for name, count in counts.items()
    }
    return {
        task.name: task.weight / divisors[task.name] if counts.get(task.name) else 0.0
        for task in tasks
    }


def predictions(task: Task, outputs: Tensor) -> Tensor:
    """Return the answers to ``n`` examples as ``[n]``: the likeliest classes, or the numbers."""
    assert task.objective != "causal", "what a causal task says is no number"
    return outputs.float().squeeze(-1) if task.objective == "regression" else outputs.argmax(-1)
