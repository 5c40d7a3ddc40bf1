"""Events as a run yields them, for tests of what the command shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

TASKS = [f"a-task-of-twenty-{i:03}" for i in range(8)]
"""Eight names of twenty characters, the longest that 80 columns are promised for."""


def task_row(**changes: Any) -> dict[str, Any]:
    """Return what is known of a task before it is learnt."""
    sizes = {"train": 12000, "validation": 1500, "test": 3000, "truncated": 7}
    return {"objective": "classification", "metric": "accuracy", "classes": 4, **sizes, **changes}


def score_row(**changes: Any) -> dict[str, Any]:
    """Return a task's scores at the end of a run."""
    baselines = {"majority": 0.4, "tfidf": 0.65, "heads": 0.7}
    interval = {"value": 0.712, "low": 0.69, "high": 0.731, "count": 3000}
    return {"metric": "accuracy", **interval, **baselines, "metrics": {}, **changes}


def started(tasks: Sequence[str] = TASKS, **changes: Any) -> dict[str, Any]:
    """Return the first event of a run of ten steps."""
    return {
        "event": "started",
        "folder": "runs/toy",
        "device": "cpu",
        "steps": 10,
        "resumed_at": 0,
        "parameters": {"trainable": 713_121, "total": 23_426_337},
        "tasks": {name: task_row() for name in tasks},
        "notices": [],
        **changes,
    }


def step(number: int, **changes: Any) -> dict[str, Any]:
    """Return the event of one step."""
    figures = {"loss": 1 / number, "tokens_per_second": 8123.4, "seconds_left": 83.0}
    return {"event": "step", "step": number, "epoch": number / 5, **figures, **changes}


def evaluated(at: int, **changes: Any) -> dict[str, Any]:
    """Return the event of a validation."""
    scores = {"split": "validation", "mean": 0.5, "tasks": {}, "best": True}
    return {"event": "evaluated", "step": at, **scores, **changes}


def finished(tasks: Sequence[str] = TASKS, **changes: Any) -> dict[str, Any]:
    """Return the last event of a run."""
    mean = {"model": 0.712, "majority": 0.4, "tfidf": 0.65, "heads": 0.7}
    return {
        "event": "finished",
        "step": 10,
        "mean": mean,
        "test": {name: score_row() for name in tasks},
        **changes,
    }


def a_run(tasks: Sequence[str] = TASKS) -> Iterator[dict[str, Any]]:
    """Yield a run of ten steps with two validations."""
    yield {"event": "phase", "name": "reading the tasks"}
    yield started(tasks)
    for number in range(1, 11):
        yield step(number)
        if number % 5 == 0:
            yield evaluated(number, mean=0.5 + number / 100)
    yield {"event": "phase", "name": "fitting the baselines"}
    yield finished(tasks)
