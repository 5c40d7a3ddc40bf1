"""``mtlora report``: which row is better, by how much, and how sure that is, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import messages
from .arguments import Json
from .failure import reporting

if TYPE_CHECKING:
    from ..report.study import Study

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN…", help="Folders of runs, or the folder of one ablation."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Where to write; without it, report in the folder given, or here for several.",
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="ROW",
        help="The row to hold others against; without it, the ablation's, or the first.",
    ),
]


@reporting
def report(runs: Folders, out: Out = None, baseline: Baseline = None, json: Json = False) -> None:
    """Compare runs on a page, with its numbers and figures as files.

    Runs of one recipe under several seeds are one row. The page needs no network; the same
    numbers are beside it as CSV, Markdown and LaTeX, the figures as SVG and, where matplotlib is
    installed, as PDF.
    """
    from ..report import write_report
    from ..report.pdf import can_draw
    from ..report.verdict import verdict
    from .events import write

    study = _study(runs, baseline)
    target = out or (runs[0] if len(runs) == 1 else Path()) / "report"
    written = write_report(study, target)
    if json:
        answer = verdict(study)
        write({"event": "reported", "files": written, "answer": answer, "notes": study.notes})
        return
    for sentence in verdict(study):
        typer.echo(sentence)
    messages.notes(study.notes)
    if not can_draw():
        messages.notes(["figures are not written as PDF: pip install 'mtlora[report]'"])
    typer.echo(f"The page is {written[0]}")


def _study(folders: list[Path], baseline: str | None) -> Study:
    from ..report import compare, is_ablation, read_ablation

    if len(folders) == 1 and is_ablation(folders[0]):
        return read_ablation(folders[0], baseline=baseline)
    return compare(folders, baseline=baseline)
