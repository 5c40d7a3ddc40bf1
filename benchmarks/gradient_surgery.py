"""What gradient surgery costs: ``python benchmarks/gradient_surgery.py [--tasks 4 8 16 25] …``.

Optimizer steps on MiniLM with ``orthogonal-gradient``, against the same batch trained jointly; with
``--separate``, against the same transform fed by a backward pass for each task; with ``--torchjd``,
against TorchJD's ``mtl_backward`` and its PCGrad, which is what ``--scope global`` makes of ours;
with ``--measuring``, joint steps that measure conflicts against joint steps that do not.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from measuring import OURS, Step, compare, parser_of
from sessions import add_batch, evenly, fix_batch, recipe_of, session_of
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torchjd.aggregation import PCGrad
from torchjd.autojac import jac_to_grad, mtl_backward

from mtlora_core.recipe import ConflictOptions, MeasureOptions
from mtlora_core.testing import task_gradients
from mtlora_core.train.objectives import example_losses, shares
from mtlora_core.train.session import Session
from mtlora_core.train.step import take_step
from mtlora_regularizers.options import OrthogonalGradientOptions
from mtlora_regularizers.orthogonal_gradient import OrthogonalGradient

COMPONENT = {"use": "component", "at": ["q", "v"]}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {
        "placement": COMPONENT,
        "experts": {"use": "lora", "rank": 16, "alpha": 64, "dropout": 0.05},
    },
    "hydra": {
        "placement": COMPONENT,
        "experts": {"use": "hydra", "count": 16, "rank": 16, "alpha": 64, "dropout": 0.05},
        "router": "token",
    },
    # Weights per task, with which B is mixed once a task.
    "hydra-task": {
        "placement": COMPONENT,
        "experts": {"use": "hydra", "count": 16, "rank": 16, "alpha": 64, "dropout": 0.05},
        "router": "task",
    },
    # A generic path: the same experts, which do not say what they are built on.
    "lora-generic": {
        "placement": COMPONENT,
        "experts": {"use": "lora", "rank": 16, "alpha": 64, "dropout": 0.05},
    },
}


def counts_of(tasks: int, examples: int, equal: bool) -> list[int]:
    """Return how many examples each task has, all of them present; unequal ones fall as 1 / t."""
    if equal:
        return evenly(tasks, examples)
    rest = np.array([1 / (t + 1) for t in range(tasks)])
    more = np.floor(rest / rest.sum() * (examples - tasks)).astype(int)
    more[0] += examples - tasks - more.sum()
    return [int(count) + 1 for count in more]


def built(
    method: str,
    counts: Sequence[int],
    options: argparse.Namespace,
    *regularizers: Any,
    measure: MeasureOptions | None = None,
) -> Session:
    """Return a session of a method with its batch."""
    recipe = recipe_of(METHODS[method], *regularizers)
    session = session_of(recipe, len(counts), options, measure=measure)
    if method.endswith("-generic"):
        for adapter in session.model.adapters:
            adapter.experts.segmented = False  # type: ignore[misc]  # of this one only
    fix_batch(session, counts)
    return session


def take_separate_step(session: Session) -> None:
    """Take the step of a session without a transform as everyone else does: a backward a task."""
    model, transform = session.model, OrthogonalGradient(OrthogonalGradientOptions(), (), 1)
    model.train()
    losses, _ = _losses(session)
    rows = []
    for task, loss in enumerate(losses, 1):
        loss.backward(retain_graph=task < len(losses))
        grads = [p.grad for p in model.adapters.parameters()]
        rows.append([grad.flatten() for grad in grads if grad is not None])
        for parameter in model.adapters.parameters():
            parameter.grad = None
    groups = [[torch.stack(own)] for own in zip(*rows, strict=True)]
    gradients = task_gradients(groups, seed=session.progress.step)
    for parameter, vector in zip(model.adapters.parameters(), transform(gradients), strict=True):
        parameter.grad = vector.view_as(parameter)
    _finish(session)


def _losses(session: Session) -> tuple[list[Tensor], Tensor]:
    """Run a forward; return each task's share of the loss, and the features that heads read."""
    model, device = session.model, session.engine.device
    batch = session.train.batch(session.picks())
    inputs, labels = batch.inputs.to(device), batch.labels.float().to(device)
    ids = torch.tensor(batch.task_ids, device=device)
    with model.adapters.context.serving(ids, inputs.mask):
        features = model.backbone.features(inputs)
    factors = shares("examples", Counter(model.tasks[t].name for t in batch.task_ids), model.tasks)
    losses = []
    for t, (task, head) in enumerate(zip(model.tasks, model.heads, strict=True)):
        rows = (ids == t).nonzero()[:, 0]
        own = example_losses(task, head(features[rows]).float(), labels[rows])
        losses.append(factors[task.name] * own.sum())
    return losses, features


def _finish(session: Session) -> None:
    trained = [p for p in session.model.parameters() if p.requires_grad]
    clip_grad_norm_(trained, session.options.clip or float("inf"))
    session.optimizer.step()
    session.optimizer.zero_grad(set_to_none=True)


def take_torchjd_step(session: Session, at_a_time: int | None) -> None:
    """Take the step of a session without a transform by TorchJD's engine, with its PCGrad."""
    model = session.model
    model.train()
    losses, features = _losses(session)
    shared = [*model.adapters.parameters()]
    mtl_backward(losses, features, shared_params=shared, parallel_chunk_size=at_a_time)
    jac_to_grad(shared, PCGrad())
    _finish(session)


def contenders(method: str, counts: Sequence[int], options: argparse.Namespace) -> dict[str, Step]:
    """Return the steps that the command asks for, each of a session of its own."""
    if options.measuring:
        every_step = MeasureOptions(conflicts=ConflictOptions(every=1))
        ours = built(method, counts, options, measure=every_step)
    else:
        transform = {"use": "orthogonal-gradient", "scope": options.scope}
        ours = built(method, counts, options, transform)
    steps: dict[str, Step] = {OURS: partial(take_step, ours)}
    others: dict[str, Callable[[Session], object]] = {"joint training": take_step}
    if options.separate:
        others["a backward pass a task"] = take_separate_step
    if options.torchjd:
        at_a_time = None if options.vmap else 1
        others["TorchJD's mtl_backward"] = partial(take_torchjd_step, at_a_time=at_a_time)
    steps |= {name: partial(take, built(method, counts, options)) for name, take in others.items()}
    return steps


def main() -> None:
    """Run the comparisons that the command asks for."""
    parser = parser_of(__doc__)
    add_batch(parser)
    parser.add_argument("--methods", nargs="+", default=["lora", "hydra"], choices=METHODS)
    parser.add_argument("--tasks", nargs="+", type=int, default=[4, 8, 16, 25])
    parser.add_argument("--counts", nargs="+", default=["equal", "unequal"])
    parser.add_argument("--scope", default="per-matrix", help="of our transform")
    parser.add_argument("--separate", action="store_true", help="also a backward pass a task")
    parser.add_argument("--torchjd", action="store_true", help="also TorchJD's mtl_backward")
    parser.add_argument(
        "--vmap",
        action="store_true",
        help="let TorchJD differentiate all tasks at a time, which experts with weights per token "
        "refuse",
    )
    parser.add_argument("--measuring", action="store_true", help="conflicts, without a transform")
    options = parser.parse_args()
    name = "conflict-measurement" if options.measuring else "gradient-surgery"
    for method, tasks, kind in product(options.methods, options.tasks, options.counts):
        counts = counts_of(tasks, options.examples, kind == "equal")
        shape = {"method": method, "tasks": tasks, "counts": kind, "scope": options.scope}
        shape |= {"examples": options.examples, "tokens": options.tokens}
        compare(name, contenders(method, counts, options), shape, options)


if __name__ == "__main__":
    main()
