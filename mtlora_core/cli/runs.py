"""``mtlora runs``: the run folders under a folder, a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RunFolderError
from .arguments import Json
from .events import write
from .failure import reporting
from .messages import notes

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder with run folders in it, however deep.")
]


@reporting
def runs(folder: Folder = Path("runs"), json: Json = False) -> None:
    """List the runs under a folder with state, scores and size."""
    from ..comparison import find_runs, overview

    rows = [overview(home) for home in find_runs(folder)]
    problems = [line for row in rows for line in row["problems"]]
    if all(row["problems"] for row in rows):
        raise RunFolderError(problems)
    if json:
        for row in rows:
            write({"event": "run", **row})
    else:
        from . import ablation_tables, render

        named = [{**row, "name": _below(Path(row["run"]), folder)} for row in rows]
        render.console().print(ablation_tables.runs(named))
    notes(problems, json=json)


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path != folder else str(path)
