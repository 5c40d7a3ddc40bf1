"""A diagnosis becomes a folder: a page, and the numbers and figures as files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from ..report import words
from ..report.page import Section, page
from ..report.table import Column, Table
from ..report.write import write_figures, written
from . import figures, tables
from .diagnosis import Diagnosis
from .spectra import BANDS

PAGE = "diagnosis.html"


def write_diagnosis(found: Diagnosis, folder: str | Path) -> list[Path]:
    """Write the page of a diagnosis and what is on it; return the files, the page first.

    Raises:
        MtloraError: the folder cannot be made or written to.
    """
    folder, sections = Path(folder), [*_sections(found)]
    footer = f"Made by mtlora {version('mtlora')}."
    texts: dict[str, str | bytes] = {PAGE: page(f"Diagnosis of {found.name}", sections, footer)}
    texts |= {f"{s.table.name}.csv": s.table.csv() for s in sections if s.table is not None}
    drawn = [figure for section in sections for figure in section.figures]
    return [*written(folder, texts), *write_figures(folder / "figures", drawn)]


def answer(found: Diagnosis) -> list[str]:
    """Return what was measured in a few sentences."""
    return [*_told_of_routing(found), *_told_of_conflicts(found)]


def _told_of_routing(found: Diagnosis) -> Iterator[str]:
    if not found.usage:
        yield "The recipe has no router, so there is no routing to look at."
        return
    unit = fmean(own.entropy for own in found.usage)
    load = fmean(own.load_entropy for own in found.usage)
    yield (
        f"Routing: the mean entropy of a unit's weights is {words.score(unit)} of its maximum, "
        f"that of the load {words.score(load)}, over {len(found.usage)} sites."
    )


def _told_of_conflicts(found: Diagnosis) -> Iterator[str]:
    if not found.conflicts:
        yield "Tasks share no adapter parameter, or there is one task: no gradients can conflict."
        return
    worst = max(found.conflicts, key=lambda own: own.rate)
    ends = f"[{words.score(worst.low)}, {words.score(worst.high)}]"
    yield (
        f"Conflicts: gradients of two tasks point against each other in "
        f"{words.score(fmean(own.rate for own in found.conflicts))} of the draws, most often those "
        f"of {worst.tasks[0]} and {worst.tasks[1]} in layer {worst.layer}, in "
        f"{words.score(worst.rate)} {ends}."
    )


def _sections(found: Diagnosis) -> Iterator[Section]:
    yield Section("answer", sentences=answer(found), stress=True)
    names = Table(
        "tasks",
        (Column("number", "#", words.count), Column("task", "task")),
        [{"number": i, "task": task} for i, task in enumerate(found.tasks, start=1)],
    )
    yield Section("tasks", "Tasks", ["The numbers by which figures name them."], table=names)
    if found.usage:
        yield Section(
            "routing",
            "Routing",
            [_ROUTING.format(examples=found.examples)],
            table=tables.sites(found),
            key={0: "entropy of a unit's weights", 1: "entropy of the load"},
            figures=[*figures.routing(found)],
        )
    yield Section("experts", "Experts", [_SPECTRA], figures=[*figures.spectra(found)])
    if found.between_experts:
        yield Section(
            "alignment",
            "Alignment",
            [_ALIGNMENT],
            key={0: "between experts", 1: "between tasks"},
            figures=[*figures.alignment(found)],
        )
    yield Section(
        "conflicts",
        "Conflicts",
        [_CONFLICTS.format(draws=found.draws, drawn=found.drawn)],
        figures=[*figures.conflicts(found)],
    )


_ROUTING = (
    "Entropies are over ln e, their maximum; e experts. A unit is what a router weighs experts "
    "for: a token, a group of a token's output dimensions, a sequence or a task. The load is the "
    "mean of the weights, tasks counting alike. Padding is left out. Up to {examples} examples of "
    "each task's validation split were looked at."
)
_SPECTRA = "Singular values are those of each expert's B, computed in float64."
_ALIGNMENT = (
    "Alignment in a band D of singular values is Eq. 7 of mtLoRA (arXiv 2603.01526): "
    "A(D) = 1 / (|D| n (n − 1)) · Σ over k in D and i ≠ j of σᵢₖ σⱼₖ |cos(uᵢₖ, uⱼₖ)|, with the "
    "singular values σ and left singular vectors u of n matrices B, averaged over sites; bands end "
    f"at {', '.join(f'{share:.0%}' for share in BANDS[1:])} of the rank. Between experts the "
    "matrices are the experts' own; between tasks, each task's mix by its mean weights. It is "
    "dominated by σ²; the mean |cos| beside it is not weighted."
)
_CONFLICTS = (
    "In each of {draws} draws of {drawn} training examples of every task, one backward pass gives "
    "each task's gradient of all adapter parameters of a layer that tasks share, with dropout off. "
    "The rate is the share of draws in which two tasks' cosine is negative, with its 95 % "
    "bootstrap interval over draws, which has no width where all draws agree."
)
