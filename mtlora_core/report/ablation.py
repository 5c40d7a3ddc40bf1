"""The folder of an ablation as the report reads it: its rows are those of ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from .compare import study_of
from .runs import read_run
from .study import Row, Run, Study

RESULTS = "results.json"
FORMAT = 1
"""The version of ``results.json`` that is read."""

Found = Mapping[str, Any]


def is_ablation(folder: Path) -> bool:
    """Whether a folder is an ablation's."""
    return (folder / RESULTS).is_file()


def read_ablation(folder: Path, *, baseline: str | None = None) -> Study:
    """Return the study of an ablation, as far as its cells are finished.

    Args:
        folder: What ``mtlora ablate`` wrote.
        baseline: The name of the row that others are held against; None takes the ablation's,
            or while that is not finished the first row.

    Raises:
        RunFolderError: ``results.json`` cannot be read, no cell is finished, or no row with
            finished cells has the baseline's name.
    """
    path = folder / RESULTS
    try:
        found = json.loads(path.read_text("utf-8"))
        return _study(folder, found, baseline)
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read: {error!r}") from error


def _study(folder: Path, found: Found, baseline: str | None) -> Study:
    if found["format"] != FORMAT:
        raise RunFolderError(
            f"{folder / RESULTS}: is of format {found['format']}, this mtlora reads {FORMAT}"
        )
    runs = {cell["row"]: _runs(folder, found, cell["row"]) for cell in found["cells"]}
    rows = [Row(each["name"], own) for each in found["rows"] if (own := runs.get(each["name"]))]
    if not rows:
        raise RunFolderError(f"{folder}: no cell of the ablation is finished")
    notes, baseline = [*_notes(found)], baseline or found["baseline"]
    if baseline == found["baseline"] and not runs.get(baseline):
        notes.append(f"The baseline, {baseline}, is not finished: {rows[0].name} stands in for it.")
        baseline = rows[0].name
    return study_of(found["name"], rows, baseline, notes)


def _runs(folder: Path, found: Found, row: str) -> list[Run]:
    """Return the finished runs of a row, under its name."""
    cells = [cell for cell in found["cells"] if cell["row"] == row and cell["finished"]]
    runs = [read_run(folder / cell["run"]) for cell in cells]
    return sorted((run for run in runs if run is not None), key=lambda run: run.seed)


def _notes(found: Found) -> Iterator[str]:
    """Yield what was done to make rows comparable, and why they may not be."""
    if tuned := found.get("tuned"):
        chosen = "; ".join(filter(None, map(_chosen, found["rows"])))
        seeds = ", ".join(map(str, tuned["seeds"]))
        yield (
            f"Tuned for each row on validation data, with seeds of its own ({seeds}): "
            f"{', '.join(tuned['keys'])}. Chosen: {chosen or 'nothing yet'}."
        )
    if found.get("matched"):
        yield f"Matched to the baseline's: {found['matched']}."
    yield from (f"{warning}." for warning in found["warnings"])
    for skipped in found["skipped"]:
        yield f"Left out, since it cannot work: {skipped['row']} ({'; '.join(skipped['reasons'])})."
    for cell, reason in found["failed"].items():
        yield f"Failed: {cell} ({reason})."


def _chosen(row: Found) -> str | None:
    chosen = (row.get("tuning") or {}).get("chosen")
    if not chosen:
        return None
    return f"{row['name']} with {', '.join(f'{key} {value}' for key, value in chosen.items())}"
