"""Values over steps, parameters or numbers of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .axis import Axis, spanning, written
from .forest import WIDTH
from .scene import FONT, Label, Line, Mark, Panel, Shape, fitted, width_of

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
    counts: bool = False
    """Whether the horizontal axis has whole numbers only."""
    shares: bool = False
    """Whether the vertical axis is from 0 to 1."""
    joined: bool = False
    """Whether the dots of a series are joined by a line."""
    width: float = WIDTH
    height: float = HEIGHT

    def panel(self, series: Series, title: str = "", paths: Sequence[Sequence[Dot]] = ()) -> Panel:
        """Return a panel with all dots.

        Args:
            series: The dots.
            title: Of one panel among several, in place of its upper label.
            paths: Dots of several series that a line joins.
        """
        dots = [dot for own in series.values() for dot in own]
        heights = [y for dot in dots for y in (dot.y, dot.low, dot.high) if y is not None]
        heights += [0.0, 1.0] * self.shares
        y = spanning(heights, self.height - BOTTOM, TOP)
        left = 10 + max(map(width_of, written(y.ticks())))
        across = [dot.x for dot in dots]
        x = spanning(across, left, self.width - RIGHT, logarithmic=self.logarithmic)
        name = fitted(title or self.up, self.width - 4)
        shapes = [Label((1, FONT), name, strong=bool(title)), *self._frame(x, y)]
        shapes += [Line([(x.place(d.x), y.place(d.y)) for d in path], "axis") for path in paths]
        for number, own in series.items():
            shapes += self._drawn(x, y, number, own)
        return Panel(self.width, self.height, shapes, title)

    def _frame(self, x: Axis, y: Axis) -> Iterator[Shape]:
        ticks = y.ticks()
        for tick, text in zip(ticks, written(ticks), strict=True):
            yield Line([(x.begin, y.place(tick)), (x.end, y.place(tick))], "grid")
            yield Label((x.begin - 5, y.place(tick) + 4), text, "end")
        yield Line([(x.begin, y.begin), (x.end, y.begin)], "axis")
        ticks = x.ticks(4 if self.width >= WIDTH else 2, whole=self.counts)
        for tick, text in zip(ticks, written(ticks), strict=True):
            yield Line([(x.place(tick), y.begin), (x.place(tick), y.begin + 4)], "axis")
            yield Label((x.place(tick), y.begin + 16), text, "middle")
        yield Label((x.end, self.height - 6), self.across, "end")

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
