"""Panels as PDF files, drawn by matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal
from warnings import catch_warnings, filterwarnings

from .palette import LIGHT
from .scene import FONT, OUTLINES, Anchor, Cell, Label, Line, Mark, Panel, pattern, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return find_spec("matplotlib") is not None


def document(panel: Panel) -> bytes:
    """Return a panel as a PDF of one page, with its fonts inside and no date.

    A character that the font lacks becomes a box: DejaVu Sans has no Chinese.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    figure = Figure((panel.width / POINTS_PER_INCH, panel.height / POINTS_PER_INCH))
    canvas = FigureCanvasPdf(figure)
    figure.patch.set_visible(False)
    for order, shape in enumerate(panel.shapes):
        _draw(figure, panel, shape, order)
    stream = BytesIO()
    with rc_context({"pdf.fonttype": 42}), catch_warnings():
        filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        canvas.print_figure(stream, metadata={"CreationDate": None})
    return stream.getvalue()


def _draw(figure: Figure, panel: Panel, shape: object, order: int) -> None:
    match shape:
        case Line():
            artist = _line(shape)
        case Mark():
            artist = _mark(shape)
        case Cell():
            artist = _cell(shape)
        case Label():
            artist = _label(shape)
    artist.set_transform(_down(figure, panel))
    artist.set_zorder(order)
    figure.add_artist(artist)


def _down(figure: Figure, panel: Panel) -> Any:
    """Return the transform from our points, with the origin at the top, to the sheet."""
    from matplotlib.transforms import Affine2D

    return Affine2D().scale(1 / panel.width, -1 / panel.height).translate(0, 1) + figure.transFigure


def _line(line: Line) -> Any:
    from matplotlib.lines import Line2D

    x, y = zip(*line.points, strict=True)
    dashes: Any = "solid"
    colour, width = LIGHT["grid" if line.style == "grid" else "faint"], 0.75
    if line.series is not None:
        own = pattern(line.series)
        colour, width = LIGHT[f"c{own.colour}"], 1.25
        dashes = (0, own.dashes) if own.dashes and line.style == "curve" else "solid"
    elif line.style == "zero":
        dashes = (0, (3, 2))
    return Line2D(x, y, color=colour, linewidth=width, linestyle=dashes)


def _mark(mark: Mark) -> Any:
    from matplotlib.patches import Circle, Polygon

    own = pattern(mark.series)
    colour, (x, y), size = LIGHT[f"c{own.colour}"], mark.at, mark.size
    outline = OUTLINES[own.shape]
    if not outline:
        return Circle((x, y), size, color=colour, linewidth=0)
    return Polygon([(x + size * u, y + size * v) for u, v in outline], color=colour, linewidth=0)


def _cell(cell: Cell) -> Any:
    from matplotlib.patches import BoxStyle, FancyBboxPatch

    colour = LIGHT["less" if cell.sign < 0 else "more"]
    corner = min(cell.size) / 2
    box = BoxStyle.Round(pad=0, rounding_size=corner) if cell.sign < 0 else BoxStyle.Square(pad=0)
    return FancyBboxPatch(
        cell.at, *cell.size, boxstyle=box, color=colour, alpha=cell.level, linewidth=0
    )


def _label(label: Label) -> Any:
    from matplotlib.text import Text

    places: Mapping[Anchor, Literal["left", "center", "right"]]
    places = {"start": "left", "middle": "center", "end": "right"}
    return Text(
        *label.at,
        printable(label.text),
        fontsize=FONT,
        fontweight="bold" if label.strong else "normal",
        color=LIGHT["ink"],
        horizontalalignment=places[label.anchor],
        verticalalignment="baseline",
        parse_math=False,  # a task may be called `$x$`
    )
