"""What an ablation would run, as plain data; ``--dry-run`` shows it."""

from __future__ import annotations

from typing import Any

from ..history import state_of
from .cells import Cell
from .folder import AblationFolder
from .planned import Planned
from .study import Study


def overview(study: Study, home: AblationFolder) -> dict[str, Any]:
    """Return the rows with their cells, and how far each has come in ``home``."""
    rows = [_row(study, row, home) for row in study.rows]
    cells = {cell["cell"] for row in rows for cell in (*row["cells"], *row["trials"])}
    return {
        "name": study.name,
        "folder": str(home.path),
        "seeds": list(study.seeds),
        "baseline": study.baseline,
        "count": len(cells),
        "rows": rows,
        "written": bool(study.options.rows or study.options.leave_one_out),
        "warnings": study.warnings,
    }


def _row(study: Study, row: Planned, home: AblationFolder) -> dict[str, Any]:
    trials = [cell for each in row.candidates for cell in study.trials(row, each)]
    # A tuned row's reported cells have no recipe before the choice is made.
    cells = [] if row.candidates else study.cells(row, row.plan)
    return {
        "name": row.name,
        "changes": dict(row.row.changes),
        "match": None if row.match is None else vars(row.match),
        "seeds": len(study.seeds),
        "trials": [_cell(cell, home) for cell in trials],
        "cells": [_cell(cell, home) for cell in cells],
    }


def _cell(cell: Cell, home: AblationFolder) -> dict[str, Any]:
    return {"cell": cell.name, "seed": cell.seed, "state": state_of(home.run(cell))}
