"""Runs the command in this process over toy parts, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toys import toy_recipe
from typer.testing import CliRunner, Result

from mtlora_core.cli import app

Event = dict[str, Any]


def mtlora(*arguments: object) -> Result:
    """Run ``mtlora`` with arguments, on 80 columns; a bug of ours is raised, not swallowed."""
    return CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"}).invoke(
        app,
        [*map(str, arguments)],
        catch_exceptions=False,
        prog_name="mtlora",
        terminal_width=78,  # what help is wrapped to on 80 columns, where the runner takes all
    )


def written(folder: Path, **changes: Any) -> Path:
    """Write the toys' recipe, with ``changes`` at its top level, and return its path."""
    path = folder / "toy.yaml"
    path.write_text(json.dumps(toy_recipe(**changes)))  # JSON is YAML
    return path


def events(result: Result) -> list[Event]:
    """Return what ``--json`` printed; every line has to be JSON."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def rows(path: Path) -> list[Mapping[str, Any]]:
    """Return the lines of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
