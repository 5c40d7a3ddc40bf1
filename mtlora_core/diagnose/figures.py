"""The figures of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from ..report import words
from ..report.figure import Figure
from ..report.forest import WIDTH
from ..report.heat import Field, heat
from ..report.plot import Dot, Plot, Series
from ..report.scene import Panel
from ..report.table import Cells, Table
from . import tables
from .diagnosis import Diagnosis

SERIES = {"unit": 0, "load": 1, "experts": 0, "tasks": 1}
"""What the series of the figures of lines are of; their key says it too."""
PANELS = 32
"""The most of one figure: a page of thousands of sites would be too large to open."""


def routing(found: Diagnosis) -> Iterator[Figure]:
    """Yield the figures of how experts are used; none without a router."""
    if not found.usage:
        return
    table = tables.evenness(found)
    plot = Plot(
        "site, from the first layer", "entropy / ln e", joined=True, counts=True, shares=True
    )
    yield Figure(
        "Routing entropy and load",
        "At 1 a router spreads evenly and at 0 it picks one expert: a low entropy of a unit with a "
        "high one of the load is a router that has specialized, both low one that has collapsed.",
        table,
        [plot.panel(_by(table.lines, "of", "number", "entropy"))],
    )
    table = tables.usage(found)
    yield _panels(
        "Expert usage by task",
        "A panel is a site, a row a task by its number, a column an expert, and a cell is the "
        "larger and stronger the more the task's tokens weigh the expert; rows that look alike "
        "route alike.",
        table,
        "site",
        lambda site, lines: _usage(found, site, lines),
    )


def spectra(found: Diagnosis) -> Iterator[Figure]:
    """Yield the figure of singular values."""
    table = tables.spectra(found)
    plot = Plot("index", "", joined=True, counts=True, width=WIDTH / 2, height=150.0)
    yield _panels(
        "Singular values of the experts",
        "A panel is a site and a line an expert's B, its singular values from the largest: a line "
        "that falls at once uses few of its ranks, and lines that lie on each other are experts "
        "of one strength.",
        table,
        "site",
        lambda site, lines: plot.panel(_by(lines, "expert", "index", "value"), site),
    )


def alignment(found: Diagnosis) -> Iterator[Figure]:
    """Yield the figure of alignment; none where there is one expert."""
    table = tables.alignment(found)
    if table.lines:
        yield Figure(
            "Alignment by band",
            "A mark is a band's share of all alignment, placed at the band's last index: where the "
            "first band's is largest, the strongest directions are the shared ones.",
            table,
            [
                Plot(
                    "last index of the band",
                    "share of alignment",
                    joined=True,
                    counts=True,
                    shares=True,
                ).panel(_by(table.lines, "between", "last", "share"))
            ],
        )


def conflicts(found: Diagnosis) -> Iterator[Figure]:
    """Yield the heat map of conflicts; none where tasks share no parameter."""
    table = tables.conflicts(found)
    if table.lines:
        yield _panels(
            "Gradient conflicts between tasks",
            "A panel is a layer and a cell two tasks by their numbers: round and orange where "
            "their gradients point against each other in more than half of the draws, square and "
            "blue where in fewer, and the larger and stronger the further from half.",
            table,
            "layer",
            lambda layer, lines: _pairs(found, layer, lines),
        )


def _panels(
    title: str,
    reading: str,
    table: Table,
    key: str,
    panel: Callable[[str, Sequence[Cells]], Panel],
) -> Figure:
    """Return a figure with a panel for each value under ``key``, evenly chosen where too many."""
    groups = [(str(name), [*own]) for name, own in groupby(table.lines, lambda line: line[key])]
    chosen = [groups[i] for i in evenly(len(groups), PANELS)]
    panels = [panel(*each) for each in chosen]
    if len(chosen) == len(groups):
        return Figure(title, reading, table, panels, columns=3)
    drawn = replace(table, lines=[line for _, own in chosen for line in own])
    reading += (
        f" Of {len(groups)} {key}s {len(chosen)} are drawn, evenly chosen from first to last; "
        f"figures/{table.name}.csv has all."
    )
    return Figure(title, reading, table, panels, columns=3, drawn=drawn)


def evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of ``count`` places, evenly from the first to the last."""
    if count <= most:
        return [*range(count)]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _usage(found: Diagnosis, site: str, lines: Sequence[Cells]) -> Panel:
    """Return the usage of one site, coloured from nothing to its largest weight."""
    most = max(float(line["weight"] or 0) for line in lines) or 1.0
    cells = [
        Field(
            found.tasks.index(str(line["task"])),
            int(line["expert"] or 0) - 1,
            float(line["weight"] or 0) / most,
            f"{site}, {line['task']}, expert {line['expert']}: {words.score(line['weight'])}",
        )
        for line in lines
    ]
    experts = max(cell.column for cell in cells) + 1
    return heat(cells, site, _numbers(len(found.tasks)), _numbers(experts))


def _pairs(found: Diagnosis, layer: str, lines: Sequence[Cells]) -> Panel:
    cells = [
        Field(
            found.tasks.index(str(line["other"])),
            found.tasks.index(str(line["task"])),
            abs(2 * float(line["rate"] or 0) - 1),
            f"layer {layer}, {line['task']} and {line['other']}: {words.score(line['rate'])} "
            f"[{words.score(line['low'])}, {words.score(line['high'])}]",
            -1 if float(line["rate"] or 0) > 0.5 else 1,
        )
        for line in lines
    ]
    names = _numbers(len(found.tasks))
    return heat(cells, f"layer {layer}", names, names)


def _numbers(count: int) -> list[str]:
    return [str(i) for i in range(1, count + 1)]


def _by(lines: Sequence[Cells], key: str, x: str, y: str) -> Series:
    """Return dots by what stands under ``key``: a word of :data:`SERIES`, or a number from 1."""
    found: dict[int, list[Dot]] = {}
    for line in lines:
        own = line[key]
        series = SERIES[own] if isinstance(own, str) else int(own or 0) - 1
        place = float(line[x] or 0), float(line[y] or 0)
        title = f"{own}, {x} {line[x]}: {words.short(line[y])}"
        found.setdefault(series, []).append(Dot(*place, title))
    return found
