"""Run folders side by side: what each came to, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .changes import changes
from .errors import MtloraError, RunFolderError
from .history import history_of, state_of
from .runfolder import RunFolder

SKIPPED = ("name", "requires")
"""Keys of a recipe that change no number."""
FIGURES = (
    "recipe", "seed", "state", "step", "steps", "validation", "test", "parameters", "seconds",
)  # fmt: skip
"""What is told of a run."""


def find_runs(folder: Path) -> list[RunFolder]:
    """Return the run folders under ``folder``, itself included, by their paths.

    Raises:
        RunFolderError: there are none.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: there is no such folder")
    found = [RunFolder(path.parent) for path in sorted(folder.rglob("lock.json"))]
    runs = [home for home in found if home.recipe.is_file()]
    if not runs:
        raise RunFolderError(f"{folder}: there are no run folders in it")
    return runs


def overview(home: RunFolder) -> dict[str, Any]:
    """Return what a run came to, as plain data; None where it has not come so far.

    A run whose recipe cannot be read, such as another version's, has the state ``unreadable`` and
    in ``problems`` the reasons.
    """
    try:
        recipe = home.read_recipe()
    except MtloraError as error:
        unknown = dict.fromkeys(FIGURES) | {"state": "unreadable"}
        return {"run": str(home.path), **unknown, "problems": [*error.problems]}
    history = history_of(home)
    finished, parameters = history.finished or {}, history.started.get("parameters", {})
    return {
        "run": str(home.path),
        "recipe": recipe.name,
        "seed": recipe.seed,
        "state": state_of(home),
        "step": history.step,
        "steps": history.steps,
        "validation": history.validation(recipe.train.keep),
        "test": finished.get("mean", {}).get("model"),
        "parameters": parameters.get("trainable"),
        "seconds": finished.get("training_seconds"),
        "problems": [],
    }


def difference(before: RunFolder, now: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """Return what differs between two runs: their recipes, what they were made with, results.

    Raises:
        RunFolderError: one of them is no run folder.
    """
    recipes = (_recipe(home) for home in (before, now))
    locks = (home.read_lock() for home in (before, now))
    results = (_results(home) for home in (before, now))
    return {
        "recipe": _rows(*recipes),
        "lock": [row for row in _rows(*locks) if not row["key"].startswith("seeds.")],
        "results": _rows(*results),
    }


def _rows(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "before": a, "after": b} for key, a, b in changes(before, now)]


def _recipe(home: RunFolder) -> dict[str, Any]:
    """Return a run's recipe with its regularizers by name, so that each meets its own."""
    recipe = {k: value for k, value in home.read_recipe().to_json().items() if k not in SKIPPED}
    recipe["regularizers"] = dict(_by_name(recipe["regularizers"]))
    return recipe


def _by_name(parts: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    seen: dict[str, int] = {}
    for part in parts:
        name = str(part["use"]).rpartition("/")[2]
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}", part


def _results(home: RunFolder) -> dict[str, Any]:
    """Return the figures of a run: counts, times, and the test score of each task."""
    history = history_of(home)
    finished = history.finished or {}
    scores = {name: row["value"] for name, row in finished.get("test", {}).items()}
    numbers = ("best_step", "training_seconds", "memory")
    return {
        "parameters": history.started.get("parameters", {}),
        "step": history.step,
        **{key: finished.get(key) for key in numbers},
        "test": {"mean": finished.get("mean", {}).get("model"), **scores},
    }
