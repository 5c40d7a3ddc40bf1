"""The tables of a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..report import words
from ..report.table import Cells, Column, Table
from .diagnosis import Diagnosis
from .spectra import Alignment

SITE = Column("site", "site")
TASK = Column("task", "task")


def sites(found: Diagnosis) -> Table:
    """Return a line for each site with a router: how evenly it spreads."""
    columns = (
        Column("number", "#", words.count),
        SITE,
        Column("entropy", "entropy of a unit", words.score),
        Column("load_entropy", "entropy of the load", words.score),
        Column("largest", "largest load", words.score),
        Column("experts", "experts", words.count),
    )
    lines: list[Cells] = [
        {
            "number": i,
            "site": own.site,
            "entropy": own.entropy,
            "load_entropy": own.load_entropy,
            "largest": float(own.load.mean(0).max()),
            "experts": own.load.shape[1],
        }
        for i, own in enumerate(found.usage, start=1)
    ]
    return Table("sites", columns, lines)


def evenness(found: Diagnosis) -> Table:
    """Return two lines for each site: the entropy of a unit, and of the load."""
    columns = (
        Column("number", "#", words.count),
        SITE,
        Column("of", "of"),
        Column("entropy", "entropy / ln e", words.score),
    )
    lines: list[Cells] = [
        {"number": i, "site": own.site, "of": of, "entropy": value}
        for i, own in enumerate(found.usage, start=1)
        for of, value in (("unit", own.entropy), ("load", own.load_entropy))
    ]
    return Table("routing", columns, lines)


def usage(found: Diagnosis) -> Table:
    """Return each task's mean weight of each expert at each site."""
    columns = (
        SITE,
        TASK,
        Column("expert", "expert", words.count),
        Column("weight", "weight", words.score),
    )
    lines: list[Cells] = [
        {"site": own.site, "task": task, "expert": e, "weight": float(weight)}
        for own in found.usage
        for task, weights in zip(found.tasks, own.load.tolist(), strict=True)
        for e, weight in enumerate(weights, start=1)
    ]
    return Table("usage", columns, lines)


def spectra(found: Diagnosis) -> Table:
    """Return each expert's singular values at each site."""
    columns = (
        SITE,
        Column("expert", "expert", words.count),
        Column("index", "index", words.count),
        Column("value", "singular value", words.short),
    )
    lines: list[Cells] = [
        {"site": site, "expert": e, "index": k, "value": value}
        for site, own in found.spectra.items()
        for e, values in enumerate(own.values.tolist(), start=1)
        for k, value in enumerate(values, start=1)
    ]
    return Table("spectra", columns, lines)


def alignment(found: Diagnosis) -> Table:
    """Return the alignment in each band, between experts and between tasks."""
    columns = (
        Column("between", "between"),
        Column("first", "from index", words.count),
        Column("last", "to index", words.count),
        Column("alignment", "alignment", words.short),
        Column("share", "share of alignment", words.score),
        Column("energy", "share of singular values", words.score),
        Column("cosine", "mean |cos|", words.score),
    )
    lines = [
        *_bands("experts", found.between_experts),
        *_bands("tasks", found.between_tasks),
    ]
    return Table("alignment", columns, lines)


def conflicts(found: Diagnosis) -> Table:
    """Return the conflict of each pair of tasks in each layer."""
    columns = (
        Column("layer", "layer", words.count),
        Column("task", "task"),
        Column("other", "other task"),
        Column("rate", "rate of conflict", words.score),
        Column("low", "95 % low", words.score),
        Column("high", "95 % high", words.score),
        Column("cosine", "mean cosine", words.change),
        Column("draws", "draws", words.count),
    )
    lines: list[Cells] = [
        {
            "layer": own.layer,
            "task": own.tasks[0],
            "other": own.tasks[1],
            "rate": own.rate,
            "low": own.low,
            "high": own.high,
            "cosine": own.cosine,
            "draws": own.draws,
        }
        for own in found.conflicts
    ]
    return Table("conflicts", columns, lines)


def _bands(between: str, found: Sequence[Alignment]) -> Iterator[Cells]:
    for own in found:
        yield {"between": between, **vars(own)}
