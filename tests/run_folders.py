"""Run folders as a run leaves them, for what reads them; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli_events import evaluated, finished, score_row, started, step
from toys import toy_recipe

from mtlora_core.recipe import dump_recipe, load_recipe

Scores = Mapping[str, float]


def write_run(
    folder: Path,
    name: str,
    seed: int,
    scores: Scores,
    *,
    done: bool = True,
    parameters: int = 1000,
    metric: str = "accuracy",
    **changes: Any,
) -> Path:
    """Write a run of ten steps that ended with ``scores``; return its folder.

    Args:
        folder: Where run folders are kept.
        name: Of the recipe.
        seed: Of the recipe.
        scores: Of each task.
        done: Whether it is finished.
        parameters: How many are trained.
        metric: Of every task.
        changes: Of the toys' recipe, at its top level.
    """
    path = folder / f"{name}-{seed}"
    path.mkdir(parents=True)
    recipe = load_recipe(toy_recipe(name=name, seed=seed, **changes))
    (path / "recipe.yaml").write_text(dump_recipe(recipe.to_json()), "utf-8")
    counts = {"trainable": parameters, "total": 10 * parameters}
    mean = sum(scores.values()) / len(scores)
    events = [started([*scores], parameters=counts)]
    for number in range(1, 11):
        events.append(step(number, loss=(1 + seed / 10) / number))
        if number % 5 == 0:
            events.append(evaluated(number, mean=mean * number / 10))
    rows = {task: score_row(value=value, metric=metric) for task, value in scores.items()}
    figures = {"seconds": 20.0, "training_seconds": 10.0 + seed, "memory": 10**9 + seed}
    ended = finished([], mean={"model": mean}, test=rows, **figures)
    lines = [json.dumps(event) + "\n" for event in [*events, *[ended] * done]]
    (path / "metrics.jsonl").write_text("".join(lines), "utf-8")
    return path


def write_ablation(folder: Path, **changes: Any) -> Path:
    """Write an ablation of two rows and two seeds, one cell of which is not finished."""
    cells = []
    for row in ("baseline", "+ block"):
        for seed in (1, 0):
            done = (row, seed) != ("+ block", 1)
            name = row.strip("+ ")
            run = write_run(folder / "runs", name, seed, {"sst2": 0.8, "cola": 0.6}, done=done)
            own = {"row": row, "seed": seed, "finished": done}
            cells.append({**own, "run": str(run.relative_to(folder))})
    found = {
        "format": 1,
        "name": "Table 2",
        "baseline": "+ block",
        "tuned": None,
        "matched": None,
        "rows": [{"name": "+ block"}, {"name": "baseline"}],
        "cells": cells,
        "warnings": [],
        "skipped": [],
        "failed": {},
        **changes,
    }
    (folder / "results.json").write_text(json.dumps(found))
    return folder
