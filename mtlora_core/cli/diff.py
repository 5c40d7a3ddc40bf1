"""``mtlora diff``: in what two runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import figures
from .arguments import Json
from .events import write
from .failure import reporting

TITLES = {"recipe": "recipe", "lock": "made with", "results": "results"}
"""The parts of a comparison, and what they are called."""

First = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Second = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of another run.")]


@reporting
def diff(before: First, after: Second, json: Json = False) -> None:
    """Show what differs between two runs: recipes, versions, results."""
    from ..comparison import difference
    from ..runfolder import RunFolder

    found = difference(RunFolder(before), RunFolder(after))
    if json:
        write({"event": "difference", "before": str(before), "after": str(after), **found})
        return
    from . import ablation_tables, render

    console = render.console()
    for key, title in TITLES.items():
        rows = [_shown(row) for row in found[key]]
        if rows:
            console.print(ablation_tables.differences(title, rows, (str(before), str(after))))
            console.print()
    if not any(found.values()):
        typer.echo("the runs differ in nothing")


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "key": row["key"],
        "before": _value(row["key"], row["before"]),
        "after": _value(row["key"], row["after"]),
    }


def _value(key: str, value: Any) -> str:
    if value is None:
        return figures.UNKNOWN
    if isinstance(value, str) and len(value) == 64 and value.isalnum():
        return f"{value[:8]}…"  # a hash, of which a few digits tell it from another
    if key.startswith("test."):
        return figures.score(value)
    if key == "training_seconds":
        return figures.duration(value)
    from ..ablate.settings import shown

    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else shown(value)
