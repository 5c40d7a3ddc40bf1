"""The answer in sentences: which row is better, by how much, and whether that is sure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import words
from .study import Study
from .table import Cells
from .tables import OWN, growth, rows

FEW = 3
"""How many rows a sentence names; the table has them all."""


def verdict(study: Study) -> list[str]:
    """Return what the table of rows says, in a few sentences."""
    lines = rows(study).lines
    if len(lines) == 1:
        return [f"One row, {_mean(lines[0])}: there is nothing to compare it with."]
    compared = [line for line in lines if line["difference"] is not None]
    return [_best(study), *_against(study, compared)]


def _best(study: Study) -> str:
    """Return which row is highest, over the tasks that all rows have where they differ in them."""
    lines, begins = rows(study).lines, "The"
    if 0 < len(study.common) < len(study.tasks):
        lines = [line for line in growth(study).lines if line["over"] != OWN]
        begins = f"Over {lines[0]['over']}, the"
    known = [line for line in lines if _known(line["mean"])]
    best = max(known, key=lambda line: float(line["mean"] or 0))
    return f"{begins} highest mean is that of {_mean(best)}."


def _against(study: Study, compared: Sequence[Cells]) -> Iterator[str]:
    sure = [line for line in compared if line["difference_low"] is not None]
    better = [line for line in sure if float(line["difference_low"] or 0) > 0]
    worse = [line for line in sure if float(line["difference_high"] or 0) < 0]
    for kind, found in (("Better", better), ("Worse", worse)):
        if found:
            yield f"{kind} than {study.baseline.name} at the 95 % level: {_most(found)}."
    if compared and not sure:
        yield "With one seed, no difference can be told from chance."
    if sure and len(better) + len(worse) < len(sure):
        rest = [str(line["row"]) for line in sure if line not in (*better, *worse)]
        yield f"Not told apart from {study.baseline.name} by these seeds: {_few(rest, ', ')}."
    if len(sure) > 1:
        yield (
            f"Each of the {len(sure)} intervals is by itself: the more rows are compared, the "
            "likelier it is that one of them excludes 0 by chance."
        )


def _most(found: Sequence[Cells]) -> str:
    """Return rows with their differences, the largest first."""
    ordered = sorted(found, key=lambda line: -abs(float(line["difference"] or 0)))
    return _few([_change(line) for line in ordered], "; ")


def _few(told: Sequence[str], between: str) -> str:
    if len(told) <= FEW + 1:  # a name is no longer than "and 1 more"
        return between.join(told)
    return f"{between.join(told[:FEW])}{between}and {len(told) - FEW} more"


def _mean(line: Cells) -> str:
    ends = words.score(line["low"]), words.score(line["high"])
    interval = "" if line["low"] is None else f" [{', '.join(ends)}]"
    return f"{line['row']}, {words.score(line['mean'])}{interval}"


def _change(line: Cells) -> str:
    ends = words.change(line["difference_low"]), words.change(line["difference_high"])
    return f"{line['row']} by {words.change(line['difference'])} [{', '.join(ends)}]"


def _known(value: words.Value) -> bool:
    return isinstance(value, float) and value == value
