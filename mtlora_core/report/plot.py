"""Values over steps, parameters or numbers of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .axis import Axis, spanning, written
from .forest import WIDTH
from .scene import FONT, Label, Line, Mark, Panel, Shape, width_of

HEIGHT = 230.0
TOP = 22.0
BOTTOM = 40.0
RIGHT = 12.0


@dataclass(frozen=True)
class Dot:
    """One mark: a place, and the interval of its height where there is one."""

    x: float
    y: float
    title: str
    low: float | None = None
    high: float | None = None
    key: str = ""
    """Written beside it."""


Series = Mapping[int, Sequence[Dot]]
"""Dots by the series that they belong to."""


@dataclass(frozen=True)
class Plot:
    """A frame with two axes."""

    across: str
    """What the horizontal axis is of."""
    up: str
    logarithmic: bool = False
    """Of the horizontal axis."""
    joined: bool = False
    """Whether the dots of a series are joined by a line."""

    def panel(self, series: Series) -> Panel:
        """Return a panel with all dots."""
        dots = [dot for own in series.values() for dot in own]
        heights = [y for dot in dots for y in (dot.y, dot.low, dot.high) if y is not None]
        y = spanning(heights, HEIGHT - BOTTOM, TOP)
        left = 10 + max(map(width_of, written(y.ticks())))
        across = [dot.x for dot in dots]
        x = spanning(across, left, WIDTH - RIGHT, logarithmic=self.logarithmic)
        shapes = [*self._frame(x, y)]
        for number, own in series.items():
            shapes += self._drawn(x, y, number, own)
        return Panel(WIDTH, HEIGHT, shapes)

    def _frame(self, x: Axis, y: Axis) -> Iterator[Shape]:
        ticks = y.ticks()
        for tick, text in zip(ticks, written(ticks), strict=True):
            yield Line([(x.begin, y.place(tick)), (x.end, y.place(tick))], "grid")
            yield Label((x.begin - 5, y.place(tick) + 4), text, "end")
        yield Line([(x.begin, y.begin), (x.end, y.begin)], "axis")
        ticks = x.ticks()
        for tick, text in zip(ticks, written(ticks), strict=True):
            yield Line([(x.place(tick), y.begin), (x.place(tick), y.begin + 4)], "axis")
            yield Label((x.place(tick), y.begin + 16), text, "middle")
        yield Label((1, FONT), self.up)
        yield Label((x.end, HEIGHT - 6), self.across, "end")

    def _drawn(self, x: Axis, y: Axis, number: int, own: Sequence[Dot]) -> Iterator[Shape]:
        places = [(x.place(dot.x), y.place(dot.y)) for dot in own]
        if self.joined and len(own) > 1:
            yield Line(places, "curve", number)
        for dot, at in zip(own, places, strict=True):
            if dot.low is not None and dot.high is not None:
                yield Line(
                    [(at[0], y.place(dot.low)), (at[0], y.place(dot.high))], "interval", number
                )
            yield Mark(at, number, dot.title, 2.6 if self.joined else 4.5)
            if dot.key:
                yield Label((at[0] + 8, at[1] - 5), dot.key)
