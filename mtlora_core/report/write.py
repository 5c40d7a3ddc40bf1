"""A study becomes a folder: a page, the numbers as text files, and the figures for a paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from ..files import refused, write
from . import pdf, svg, tables
from .figure import Figure
from .figures import figures
from .page import Section, page
from .study import Study
from .table import Table
from .verdict import verdict

PAGE = "report.html"


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write the report of a study; return the files, the page first.

    Files of an earlier report are replaced, others stay.

    Raises:
        MtloraError: the folder cannot be made or written to.
    """
    drawn = [*figures(study)]
    texts = {PAGE: _page(study, drawn), **_texts(study)}
    return [*written(folder, texts), *write_figures(folder / "figures", drawn)]


def written(folder: Path, texts: dict[str, str | bytes]) -> list[Path]:
    """Write files into a folder that is made where it is missing; return their paths.

    Raises:
        MtloraError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(folder, error) from error
    for name, text in texts.items():
        write(folder / name, text)
    return [folder / name for name in texts]


def write_figures(folder: Path, drawn: Sequence[Figure]) -> list[Path]:
    """Write each figure's numbers and its SVG, and its PDF where matplotlib is there.

    Raises:
        MtloraError: the folder cannot be made or written to.
    """
    texts: dict[str, str | bytes] = {}
    for figure in drawn:
        texts[f"{figure.name}.csv"] = figure.table.csv()
        texts[f"{figure.name}.svg"] = svg.document(figure.sheet, title=figure.title)
        if pdf.can_draw():
            texts[f"{figure.name}.pdf"] = pdf.document(figure.sheet)
    return written(folder, texts)


def _page(study: Study, drawn: Sequence[Figure]) -> str:
    return page(study.title, [*_sections(study, drawn)], f"Made by mtlora {version('mtlora')}.")


def _sections(study: Study, drawn: Sequence[Figure]) -> Iterator[Section]:
    key = {study.number(row) - 1: row.name for row in study.rows}
    plain = [figure for figure in drawn if not figure.keyed]
    keyed = [figure for figure in drawn if figure.keyed]
    yield Section("answer", sentences=verdict(study), notes=study.notes, stress=True)
    yield Section("rows", "Rows", [_explained(study)], table=tables.rows(study), figures=plain)
    yield Section("figures", "Figures", key=key, figures=keyed)
    yield Section("recipes", "What differs", [_DIFFERS], table=tables.recipes(study))
    yield Section("seeds", "Runs", table=tables.seeds(study))


_DIFFERS = "The entries of the recipes that are not the same in all rows, and nothing else."


def _explained(study: Study) -> str:
    return (
        f"Means are over tasks, then over seeds, with the standard deviation and the 95 % interval "
        f"(Student's t) over seeds. Differences are to {study.baseline.name}, seed by seed, with "
        "the interval of a paired t test. Intervals cover the choice of seeds, not that of test "
        "examples. Training is a run's mean time, memory the most that a run's process held: a "
        "GPU's where it had one, else everything, Python and torch too."
    )


def _texts(study: Study) -> dict[str, str | bytes]:
    found = [tables.rows(study), tables.seeds(study), tables.recipes(study)]
    board = tables.scoreboard(study)
    return {
        **{f"{table.name}.csv": table.csv() for table in found},
        "results.md": _markdown(study, [found[0], board, found[2]]),
        "results.tex": _latex(study, [found[0], board]),
    }


def _markdown(study: Study, found: Sequence[Table]) -> str:
    return "\n".join([f"{_explained(study)}\n", *(table.markdown() for table in found)])


def _latex(study: Study, found: Sequence[Table]) -> str:
    note = "% Needs \\usepackage{booktabs}."
    return "\n".join([note, *(table.latex() for table in found)])
