"""How a step's time grows: ``python benchmarks/growth.py [--of experts tasks groups length] …``.

Optimizer steps on MiniLM with mtLoRA's parts at its FFN blocks, as one number grows: experts, of
which count times rank stays 256; tasks, with the batch as it is (also MTL-LoRA's parts, which have
weights of every task's own); groups of output dimensions; tokens of an example. All sizes take
their steps in turn; each line compares one with the smallest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from measuring import parser_of, report_times, times_of
from sessions import BLOCK, add_batch, evenly, fix_batch, recipe_of, session_of

from mtlora_core.train.session import Session
from mtlora_core.train.step import take_step

SPREAD = 256
"""Experts times rank."""
TASK_WEIGHTS: dict[str, Any] = {
    "placement": {"use": "component", "at": ["q", "k", "v", "o"]},
    "experts": {"use": "mtl", "count": 3, "rank": 16, "alpha": 64, "dropout": 0.05},
    "router": {"use": "task", "temperature": 0.1},
}
"""MTL-LoRA's parts."""


def of_experts(count: int, options: argparse.Namespace) -> Session:
    """Return a session with ``count`` experts that share one width."""
    experts = {**BLOCK["experts"], "count": count, "rank": SPREAD // count}
    return _session({**BLOCK, "experts": experts}, 5, options)


def of_tasks(tasks: int, options: argparse.Namespace) -> Session:
    """Return a session with many tasks, as many of them in the batch as it has room for."""
    return _session(BLOCK, tasks, options)


def of_task_weights(tasks: int, options: argparse.Namespace) -> Session:
    """Return a session with many tasks, each with weights of its own."""
    return _session(TASK_WEIGHTS, tasks, options)


def of_groups(groups: int, options: argparse.Namespace) -> Session:
    """Return a session whose router weighs ``groups`` groups apart."""
    return _session({**BLOCK, "router": {"use": "fine-grained", "groups": groups}}, 5, options)


def of_length(tokens: int, options: argparse.Namespace) -> Session:
    """Return a session of examples of ``tokens`` tokens."""
    return _session(BLOCK, 5, options, tokens)


def _session(
    parts: Mapping[str, Any], tasks: int, options: argparse.Namespace, tokens: int | None = None
) -> Session:
    session = session_of(recipe_of(parts), tasks, options, tokens=tokens)
    fix_batch(session, evenly(tasks, options.examples))
    return session


SIZES: dict[str, tuple[Callable[[int, argparse.Namespace], Session], list[int]]] = {
    "experts": (of_experts, [4, 16, 64]),
    "tasks": (of_tasks, [5, 25, 100]),
    "task-weights": (of_task_weights, [5, 25, 100]),
    "groups": (of_groups, [1, 2, 8, 32]),
    "length": (of_length, [32, 64, 128, 256]),
}


def main() -> None:
    """Run the comparisons that the command asks for."""
    parser = parser_of(__doc__)
    add_batch(parser)
    parser.add_argument("--of", nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--sizes", nargs="+", type=int, help="in place of the usual ones")
    options = parser.parse_args()
    for what in options.of:
        run(what, options)


def run(what: str, options: argparse.Namespace) -> None:
    """Print a line for each size but the smallest."""
    build, sizes = SIZES[what]
    chosen = options.sizes or sizes
    steps = {f"{size} {what}": partial(take_step, build(size, options)) for size in chosen}
    times = times_of(steps, options)
    least, *others = steps
    for name in others:
        shape = {"size": name, "examples": options.examples}
        report_times(f"growth-{what}", times, name, least, shape)


if __name__ == "__main__":
    main()
