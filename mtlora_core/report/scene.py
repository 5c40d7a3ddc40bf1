"""What is drawn: a handful of shapes in points, with a style each that the page gives a colour.

The page, the SVG files and the PDF files all draw the same shapes, so a figure is laid out once.
The origin is at the top left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["axis", "grid", "zero", "curve", "interval"]
"""Of lines: an axis, a line to read values by, the line of no difference; of data, a curve, which
has its series' dashes, and an interval, which has none."""

Anchor = Literal["start", "middle", "end"]

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: Sequence[Point]
    style: Style
    series: int | None = None
    """Of data: which of the series it belongs to, for colour and dashes."""


@dataclass(frozen=True)
class Mark:
    """A datum: there are as many of them as lines in the figure's table."""

    at: Point
    series: int
    title: str
    """What it is, in words: shown where it is pointed at."""
    size: float = 4.0


@dataclass(frozen=True)
class Cell:
    """A datum of a heat map."""

    at: Point
    """Its top left."""
    size: Point
    level: float
    """How opaque it is, to 1."""
    title: str
    sign: Literal[-1, 1] = 1
    """Of two kinds: one is square, the other round and of another colour."""


@dataclass(frozen=True)
class Label:
    """Text on one line."""

    at: Point
    """Where its baseline starts, has its middle, or ends."""
    text: str
    anchor: Anchor = "start"
    strong: bool = False


Shape = Line | Mark | Cell | Label


@dataclass(frozen=True)
class Panel:
    """Shapes on one sheet."""

    width: float
    height: float
    shapes: Sequence[Shape]
    title: str = ""
    """What the panel is of, where a figure has several."""


@dataclass(frozen=True)
class Pattern:
    """How a series is told from others, by shape and dashes as well as by colour."""

    colour: int
    shape: int
    dashes: Sequence[float]


FONT = 11.0
"""Size of all text."""

COLOURS = 8
DASHES: Sequence[Sequence[float]] = ((), (5, 2), (1.5, 2), (6, 2, 1.5, 2))
OUTLINES: Sequence[Sequence[Point]] = (
    (),
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.15), (1.05, 0.85), (-1.05, 0.85)),
    ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    ((0, 1.15), (1.05, -0.85), (-1.05, -0.85)),
    ((-1.1, -0.45), (0, -1.25), (1.1, -0.45), (0.7, 1.0), (-0.7, 1.0)),
    ((-1.2, -0.35), (-0.35, -0.35), (-0.35, -1.2), (0.35, -1.2), (0.35, -0.35), (1.2, -0.35),
     (1.2, 0.35), (0.35, 0.35), (0.35, 1.2), (-0.35, 1.2), (-0.35, 0.35), (-1.2, 0.35)),
)  # fmt: skip
"""Marks of size 1 around the origin; the first, without points, is a circle."""


def pattern(series: int) -> Pattern:
    """Return how the series of a number, from 0, is drawn; the first 56 are all unlike."""
    return Pattern(
        colour=series % COLOURS,
        shape=series % len(OUTLINES),
        dashes=DASHES[(series + series // COLOURS) % len(DASHES)],
    )


def width_of(text: str) -> float:
    """Return about how wide a text is; fonts differ, so leave room."""
    return 0.56 * FONT * len(text)


def fitted(text: str, width: float) -> str:
    """Return a text cut to about a width, with an ellipsis where something is gone."""
    room = max(int(width / (0.56 * FONT)), 1)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def printable(text: str) -> str:
    """Return a text of one line without the characters that neither XML nor a printer has."""
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "�" for letter in text
    )


def moved(shape: Shape, by: Point) -> Shape:
    """Return a shape elsewhere."""
    if isinstance(shape, Line):
        return Line([_plus(p, by) for p in shape.points], shape.style, shape.series)
    if isinstance(shape, Mark):
        return Mark(_plus(shape.at, by), shape.series, shape.title, shape.size)
    if isinstance(shape, Cell):
        return Cell(_plus(shape.at, by), shape.size, shape.level, shape.title, shape.sign)
    return Label(_plus(shape.at, by), shape.text, shape.anchor, shape.strong)


def sheet(panels: Sequence[Panel], columns: int) -> Panel:
    """Return several panels as one, in lines of ``columns``."""
    shapes: list[Shape] = []
    x = y = width = height = 0.0
    for i, panel in enumerate(panels):
        if i % columns == 0:
            x, y, height = 0.0, y + height, 0.0
        shapes += [moved(shape, (x, y)) for shape in panel.shapes]
        x, height = x + panel.width, max(height, panel.height)
        width = max(width, x)
    return Panel(width, y + height, shapes)


def _plus(point: Point, by: Point) -> Point:
    return point[0] + by[0], point[1] + by[1]
