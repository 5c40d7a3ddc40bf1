"""Means with their intervals, one below the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low

from .axis import Axis, written
from .scene import FONT, Label, Line, Mark, Panel, Shape, fitted
from .table import Cells
from .words import UNKNOWN, Format

WIDTH = 360.0
"""Of a whole figure: what a phone shows without making its text small."""
MARGIN = 14.0
TITLE = 34.0
SCALE = 26.0
"""Room below for the axis."""
SMALL = 180.0
"""Width of a panel among several."""


@dataclass(frozen=True)
class Datum:
    """One mark: a value, and its interval where there is one."""

    series: int
    key: str
    label: str
    value: float
    low: float | None
    high: float | None
    title: str

    def ends(self) -> tuple[float, float]:
        """Return the interval, or the value twice."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high


def data(lines: Sequence[Cells], value: str, low: str, high: str, show: Format) -> list[Datum]:
    """Return the marks of a table's lines, by the names of three columns."""
    return [_datum(line, value, low, high, show) for line in lines]


def forest(found: Sequence[Datum], *, zero: bool = False) -> Panel:
    """Return a panel with each datum below its name.

    Args:
        found: What is drawn, from the top.
        zero: Whether to draw the line of no difference.
    """
    pitch = 34.0
    height = 6 + pitch * len(found)
    axis = _axis(found, MARGIN, WIDTH - MARGIN, zero)
    shapes = [*_scale(axis, 0, height), *_zero(axis, 0, height, zero)]
    for i, datum in enumerate(found):
        top = 6 + pitch * i
        name = fitted(f"{datum.key}  {datum.label}", WIDTH - 2)
        shapes += [Label((1, top + FONT - 1), name), *_whisker(axis, datum, top + 23)]
    return Panel(WIDTH, height + SCALE, shapes)


def small(found: Sequence[Datum], title: str, under: str) -> Panel:
    """Return a narrow panel with each datum beside its key, on an axis of the panel's own."""
    pitch, left = 13.0, 22.0
    height = TITLE + pitch * len(found) + 2
    axis = _axis(found, left + 6, SMALL - MARGIN, zero=False)
    shapes: list[Shape] = [
        Label((2, FONT + 2), fitted(title, SMALL - 8), strong=True),
        Label((2, 2 * FONT + 5), fitted(under, SMALL - 8)),
        *_scale(axis, TITLE - 2, height, most=2),
    ]
    for i, datum in enumerate(found):
        y = TITLE + pitch * (i + 0.5)
        shapes += [Label((left - 6, y + 4), datum.key, "end"), *_whisker(axis, datum, y)]
    return Panel(SMALL, height + SCALE + 4, shapes, f"{title}, {under}")


def _datum(line: Cells, value: str, low: str, high: str, show: Format) -> Datum:
    interval = "" if line[low] is None else f" [{show(line[low])}, {show(line[high])}]"
    number, row = line["number"], str(line["row"])
    task = f"{line['task']}, " if "task" in line else ""
    return Datum(
        series=int(number or 0) - 1,
        key=str(number),
        label=row,
        value=_float(line[value]),
        low=None if line[low] is None else _float(line[low]),
        high=None if line[high] is None else _float(line[high]),
        title=f"{task}{row}: {show(line[value])}{interval}",
    )


def _float(value: object) -> float:
    assert isinstance(value, int | float), f"{UNKNOWN} is not drawn"
    return float(value)


def _axis(found: Sequence[Datum], begin: float, end: float, zero: bool) -> Axis:
    """Return an axis for all values, and for whole intervals but those much wider than most.

    Whether rows are told apart is seen by their intervals; a row whose seeds differ far more than
    others' would leave no room for these.
    """
    values = [datum.value for datum in found] + [0.0] * zero
    ends = [end for datum in found for end in datum.ends()]
    spread = max(values) - min(values)
    usual = median_low([high - low for low, high in (datum.ends() for datum in found)])
    room = max(1.5 * spread, 1.5 * usual, 0.004 * max(map(abs, values)), 1e-6)
    low = max(min([*values, *ends]), min(values) - room)
    high = min(max([*values, *ends]), max(values) + room)
    pad = 0.06 * (high - low) or room
    return Axis(low - pad, high + pad, begin, end)


def _scale(axis: Axis, top: float, bottom: float, most: int = 4) -> Iterator[Shape]:
    ticks = axis.ticks(most)
    for tick, text in zip(ticks, written(ticks), strict=True):
        x = axis.place(tick)
        yield Line([(x, top), (x, bottom)], "grid")
        yield Label((x, bottom + 14), text, "middle")
    yield Line([(axis.begin, bottom), (axis.end, bottom)], "axis")


def _zero(axis: Axis, top: float, bottom: float, wanted: bool) -> Iterator[Shape]:
    if wanted:
        x = axis.place(0.0)
        yield Line([(x, top), (x, bottom)], "zero")


def _whisker(axis: Axis, datum: Datum, y: float) -> Iterator[Shape]:
    low, high = datum.ends()
    if low < high:
        ends = axis.place(axis.inside(low)), axis.place(axis.inside(high))
        yield Line([(ends[0], y), (ends[1], y)], "interval", datum.series)
        yield from _cap(axis, low, y, -1, datum.series)
        yield from _cap(axis, high, y, 1, datum.series)
    yield Mark((axis.place(datum.value), y), datum.series, datum.title)


def _cap(axis: Axis, end: float, y: float, side: int, series: int) -> Iterator[Shape]:
    """Yield the end of an interval: a bar, or an arrow where it goes on beyond the axis."""
    x = axis.place(axis.inside(end))
    reach = 0.0 if axis.inside(end) == end else 4.0
    points = [(x - side * reach, y - 3.5), (x, y), (x - side * reach, y + 3.5)]
    yield Line(points, "interval", series)
