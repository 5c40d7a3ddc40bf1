"""Runs a toy recipe in a process of its own: ``python toy_run.py FOLDER [resume] [--VARIANT]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from toys import toy_recipe, toy_registry

import mtlora_torchjd
from mtlora_core.load import plan_of
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import resolve
from mtlora_core.run import run

TRAIN = {
    "steps": 60,
    "batch_size": 8,
    "accumulate": 2,
    "warmup": 0.2,
    "learning_rate": 1e-2,
    "evaluate_every": 15,
    "save_every": 4,
    "sampling": "temperature",
}


EXACT = {
    # Without what belongs to a forward alone: dropout masks, and the penalty on routing. Adam
    # divides by the size of a gradient, so small steps keep rounding from growing.
    "train": {**TRAIN, "learning_rate": 1e-5},
    "experts": {"use": "hydra", "count": 4, "rank": 4, "alpha": 16, "dropout": 0.0},
    "regularizers": ["spectral-aware"],
    "measure": {"conflicts": {"every": 20}},
}


PER_TASK: dict[str, Any] = {
    # Steps of two examples, so that most lack a task or two.
    "train": {**TRAIN, "batch_size": 2, "accumulate": 1, "weight_decay": 0.1},
    "experts": {"use": "per-task", "rank": 4},
    "router": None,
    "regularizers": [],
}
SURGERY: dict[str, Any] = {
    # Steps of four examples of five tasks, so that a process has tasks that the other lacks.
    **EXACT,
    "train": {**TRAIN, "batch_size": 4, "accumulate": 1, "learning_rate": 1e-5},
    "regularizers": ["orthogonal-gradient", "spectral-aware"],
    "tasks": {"use": "toy", "count": 5},
}
WEIGHING: dict[str, Any] = {
    # Steps of one to three examples of five tasks, so that a process has no forward in some; with
    # weights of the step's own losses, and a transform that reads losses and remembers.
    **SURGERY,
    "train": {**SURGERY["train"], "batch_size": 3},
    "regularizers": ["famo", "grad-norm", "spectral-aware"],
}
REMEMBERING: dict[str, Any] = {
    **SURGERY,
    "regularizers": [{"use": "dwa", "every": 10}, {"use": "gradvac", "scope": "per-layer"}],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "--exact": EXACT,
    "--per-task": PER_TASK,
    "--surgery": SURGERY,
    "--weighing": WEIGHING,
    "--remembering": REMEMBERING,
}


def main(folder: Path, resume: bool) -> None:
    """Run, or go on with, the recipe in ``folder``."""
    changes = next((VARIANTS[word] for word in sys.argv if word in VARIANTS), {"train": TRAIN})
    recipe = load_recipe(toy_recipe(**changes))
    registry = toy_registry(torchjd=mtlora_torchjd)
    plan = plan_of(folder, registry) if resume else resolve(recipe, registry)
    for event in run(plan, folder, resume=resume, device="cpu"):
        print(event["event"], event.get("step", ""), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "resume" in sys.argv)
