"""Task gradients two ways, for tests: rows of one backward pass, and a backward pass a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mtlora_core.compose import compose
from mtlora_core.inputs import Input
from mtlora_core.interfaces import Inputs, TaskGradients
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import Scope
from mtlora_core.origin import Origin
from mtlora_core.recipe import load_recipe
from mtlora_core.registry import Registry
from mtlora_core.regularizers import ScopedTransform
from mtlora_core.resolve import resolve
from mtlora_core.taskaxis import shared_parameters
from mtlora_core.tasks import Task
from mtlora_core.testing.samples import randomized
from mtlora_core.train.engine import make_engine
from mtlora_core.train.gradients import TaskRows
from mtlora_timm.testing import pictures

TASKS = [Task(name, labels=("no", "yes")) for name in ("first", "second", "third", "fourth")]
SPY = Origin("tests", "regularizer", "spy")
WORDS = "a b c d e f g h i j k l"

Rows = dict[str, Tensor]
"""By parameter, ``[T, *shape]`` over the tasks that are present."""


class Spy:
    """A transform that keeps the rows it sees, and takes their sum."""

    def __init__(self) -> None:
        self.seen: list[TaskGradients] = []

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the joint gradient."""
        self.seen.append(gradients)
        return [torch.cat([rows.sum(0) for rows in group]) for group in gradients.groups]


def model_of(recipe: Mapping[str, Any], registry: Registry, dtype: torch.dtype) -> MultiTaskModel:
    """Return a model whose adapters have been trained, as far as one can tell."""
    model = compose(resolve(load_recipe(recipe), registry), TASKS)
    randomized(model.adapters)
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.mul_(0.1)  # far from saturation, where float32 would lose its digits
    return model.to(dtype).eval()


def shared(model: MultiTaskModel) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that tasks share, by name."""
    found: dict[str, torch.nn.Parameter] = {}
    for adapter in model.adapters:
        for part, module in (("experts", adapter.experts), ("router", adapter.router)):
            if module is not None:
                own = shared_parameters(module, module.task_indexed)
                found |= {f"{adapter.site.name}.{part}.{n}": p for n, p in own.items()}
    return found


def batch_of(model: MultiTaskModel, count: int, draw: torch.Generator) -> Inputs:
    """Return random pictures for a backbone that reads such, or texts of several lengths."""
    if type(model.backbone).__name__ == "TimmBackbone":
        made: Sequence[Input] = pictures(count, int(torch.randint(99, (), generator=draw)))
    else:
        lengths = torch.randint(1, 6, (count,), generator=draw).tolist()
        starts = torch.randint(0, 6, (count,), generator=draw).tolist()
        words = WORDS.split()
        made = [" ".join(words[s : s + n]) for s, n in zip(starts, lengths, strict=True)]
    inputs = model.backbone.collate(model.backbone.encode(made))
    dtype = next(model.backbone.parameters()).dtype
    floats = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.tensors.items()}
    return replace(inputs, tensors=floats)


def task_losses(model: MultiTaskModel, ids: Sequence[int], seed: int = 0) -> dict[int, Tensor]:
    """Return each present task's share of a loss over random inputs, in full width."""
    draw = torch.Generator().manual_seed(seed)
    inputs = batch_of(model, len(ids), draw)
    labels = torch.randint(0, 2, (len(ids),), generator=draw)
    with model.adapters.context.serving(torch.tensor(ids), inputs.mask):
        hidden = model.backbone(inputs)
    # In full width, where a backbone's own pooling is in float32.
    real = inputs.mask[..., None].to(next(model.heads.parameters()).dtype)
    features = (hidden * real).sum(1) / real.sum(1)
    rows = {t: [i for i, each in enumerate(ids) if each == t] for t in sorted({*ids})}
    return {
        t: functional.cross_entropy(model.heads[t](features[own]), labels[own], reduction="sum")
        / len(ids)
        for t, own in rows.items()
    }


def collector(
    model: MultiTaskModel, tasks: Sequence[int], *, forwards: int = 1, scale: float = 1.0
) -> TaskRows:
    """Return what collects the rows of tasks whose losses nobody reads."""
    return TaskRows(
        model.adapters,
        tasks,
        seed=0,
        forwards=forwards,
        losses=lambda: torch.zeros(len(tasks)),
        engine=make_engine(device="cpu"),
        scale=scale,
    )


def clear(model: MultiTaskModel) -> None:
    """Forget every gradient."""
    for parameter in model.parameters():
        parameter.grad = None


def separate(
    model: MultiTaskModel, forwards: Sequence[Sequence[int]], *, autocast: bool = False
) -> Rows:
    """Return the rows of T backward passes, each of which sees one task's loss."""
    found: dict[str, list[Tensor]] = {name: [] for name in shared(model)}
    for task in sorted({t for ids in forwards for t in ids}):
        clear(model)
        for number, ids in enumerate(forwards):
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                torch.manual_seed(number)
                losses = task_losses(model, ids, number)
            if task in losses:
                losses[task].backward()
        for name, parameter in shared(model).items():
            grad = parameter.grad
            found[name].append(torch.zeros_like(parameter) if grad is None else grad.clone())
    clear(model)
    return {name: torch.stack(rows) for name, rows in found.items()}


def together(
    model: MultiTaskModel,
    forwards: Sequence[Sequence[int]],
    *,
    scope: Scope = "per-matrix",
    autocast: bool = False,
) -> Rows:
    """Return the rows of one backward pass a forward; the gradients are their sums."""
    spy = Spy()
    model.adapters.transform = ScopedTransform(SPY, scope, spy)
    clear(model)
    tasks = sorted({t for ids in forwards for t in ids})
    rows = collector(model, tasks, forwards=len(forwards))
    with rows.collecting():
        for number, ids in enumerate(forwards):
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                torch.manual_seed(number)
                losses = task_losses(model, ids, number)
            torch.stack([*losses.values()]).sum().backward()
    rows.finish()
    assert all(gradients.task_ids == tuple(tasks) for gradients in spy.seen)
    return _named(model, spy, scope, len(tasks))


def _named(model: MultiTaskModel, spy: Spy, scope: Scope, tasks: int) -> Rows:
    """Match what the spy saw with parameters, which have the sum of their rows as gradient."""
    unseen = [rows for gradients in spy.seen for group in gradients.groups for rows in group]
    found = {}
    for name, parameter in shared(model).items():
        if parameter.grad is None:
            found[name] = parameter.new_zeros(tasks, *parameter.shape)
            continue
        flat = parameter.grad.flatten()
        (index,) = (
            i
            for i, rows in enumerate(unseen)
            if rows.shape[1] == flat.numel() and torch.equal(rows.sum(0), flat)
        )
        found[name] = unseen.pop(index).view(tasks, *parameter.shape)
    assert not unseen
    return found
