"""The model that composition makes: a frozen backbone, adapters beside it, a head per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .adapters import Adapters
from .errors import CompositionError
from .interfaces import Backbone, Encoded, Inputs
from .tasks import Task, Text


@dataclass(frozen=True)
class TaskOutput:
    """What a head says of its task's rows of a batch."""

    rows: Tensor
    """``[n]``, the rows of the batch."""
    outputs: Tensor
    """``[n, outputs]`` in float32: logits, or one number for regression."""


@dataclass(frozen=True)
class Prediction:
    """An answer to one input."""

    task: str
    label: str | None
    """The most probable class; None for regression."""
    probability: float | None
    probabilities: Mapping[str, float]
    """By class, summing to one; empty for regression."""
    value: float | None = None
    """The number, for regression."""


class MultiTaskModel(nn.Module):
    """A frozen backbone, adapters beside it, and a linear head per task.

    Args:
        backbone: The frozen model.
        adapters: Attached to the backbone here.
        tasks: The tasks, in the order of their ids.
        heads: For each task, a module from features ``[n, width]`` to its outputs.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapters: Adapters,
        tasks: Sequence[Task],
        heads: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.adapters = adapters
        self.tasks = tuple(tasks)
        self.heads = nn.ModuleList(heads)
        adapters.attach(backbone.module)

    def forward(self, inputs: Inputs, task_ids: Sequence[int]) -> dict[str, TaskOutput]:
        """Return the outputs of every task that is present, by name.

        Args:
            inputs: A batch of ``b`` examples on the model's device.
            task_ids: The task of each, an index into ``tasks``.
        """
        if self.training and not self.backbone.training:
            self.backbone.train()  # checkpointed layers work in train mode only
        ids = torch.tensor(task_ids, device=inputs.mask.device)
        with self.adapters.context.serving(ids, inputs.mask):
            features = self.backbone(inputs)
        return {self.tasks[t].name: self._head(t, features, task_ids) for t in sorted({*task_ids})}

    def _head(self, task_id: int, features: Tensor, task_ids: Sequence[int]) -> TaskOutput:
        rows = torch.tensor([row for row, t in enumerate(task_ids) if t == task_id])
        rows = rows.to(features.device)
        return TaskOutput(rows, self.heads[task_id](features[rows]).float())

    @torch.inference_mode()
    def outputs(
        self, rows: Sequence[Encoded], task_ids: Sequence[int], batch_size: int = 64
    ) -> list[Tensor]:
        """Return each example's outputs on the CPU, in order, running batches of similar length.

        Tasks may be mixed. Runs in eval mode and leaves the mode as it was.
        """
        mode, answers = self.training, [torch.empty(0)] * len(rows)
        self.eval()
        order = sorted(range(len(rows)), key=lambda i: rows[i].length)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            inputs = self.backbone.collate([rows[i] for i in batch]).to(self.device)
            for output in self(inputs, [task_ids[i] for i in batch]).values():
                for row, answer in zip(output.rows.tolist(), output.outputs.cpu(), strict=True):
                    answers[batch[row]] = answer
        self.train(mode)
        return answers

    def predict(
        self, texts: Sequence[Text], task: str | Sequence[str] | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        """Answer inputs, tasks mixed as they come.

        Args:
            texts: Texts, or pairs of texts.
            task: The task of all, or of each; may be left out where the model has one task.
            batch_size: Examples of one forward.

        Raises:
            CompositionError: a task is missing or unknown, or their number is not the texts'.
        """
        chosen = self._chosen(task, len(texts))
        rows = [
            self.backbone.encode([text], self.tasks[t].max_length)[0]
            for text, t in zip(texts, chosen, strict=True)
        ]
        answers = self.outputs(rows, chosen, batch_size)
        return [_prediction(self.tasks[t], a) for t, a in zip(chosen, answers, strict=True)]

    def _chosen(self, task: str | Sequence[str] | None, count: int) -> list[int]:
        names = [each.name for each in self.tasks]
        if task is None and len(names) > 1:
            raise CompositionError(f"say which task to answer: {', '.join(names)}")
        given = [task or names[0]] * count if task is None or isinstance(task, str) else list(task)
        if len(given) != count:
            raise CompositionError(f"{count} texts, but {len(given)} tasks were given")
        if unknown := sorted({*given} - {*names}):
            raise CompositionError(f"unknown task {unknown[0]!r}; the tasks: {', '.join(names)}")
        return [names.index(name) for name in given]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def trained_state(self) -> dict[str, Tensor]:
        """Return what training changes, by name: adapters, routers, heads and their buffers."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if not name.startswith("backbone.")}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what :meth:`trained_state` gave.

        Raises:
            CompositionError: the names or shapes are another model's.
        """
        own = self.trained_state()
        problems = [f"{n}: is missing" for n in own.keys() - state.keys()]
        problems += [f"{n}: this model has no such tensor" for n in state.keys() - own.keys()]
        problems += [
            f"{n}: has the shape {[*state[n].shape]}, this model's is {[*own[n].shape]}"
            for n in own.keys() & state.keys()
            if own[n].shape != state[n].shape
        ]
        if problems:
            raise CompositionError(sorted(problems))
        self.load_state_dict(dict(state), strict=False)


def _prediction(task: Task, outputs: Tensor) -> Prediction:
    if task.objective == "regression":
        return Prediction(task.name, None, None, {}, value=outputs.item())
    shares = outputs.double().softmax(-1).tolist()
    best = max(range(len(shares)), key=shares.__getitem__)
    return Prediction(
        task.name, task.labels[best], shares[best], dict(zip(task.labels, shares, strict=True))
    )
