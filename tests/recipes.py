"""The recipes of ``examples/``, whichever there are."""

from __future__ import annotations

from pathlib import Path

from mtlora_core.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]


def whole_recipes() -> list[Path]:
    """Return every recipe; one without a name is a fragment that others extend."""
    found = sorted((ROOT / "examples").glob("*.yaml"))
    return [path for path in found if "\nname:" in path.read_text("utf-8")]


def text_recipes() -> list[Path]:
    """Return the recipes over the tasks and the encoder that they share."""
    return [path for path in whole_recipes() if load_recipe(path).tasks.use == "docstrings"]
