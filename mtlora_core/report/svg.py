"""Panels as SVG: on the page, where style sheets colour them, and as files of their own."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from .palette import LIGHT, sheet_of_styles
from .scene import FONT, OUTLINES, Cell, Label, Line, Mark, Panel, Shape, pattern, printable


def picture(panel: Panel, *, name: str, told: str) -> str:
    """Return a panel as an ``svg`` element.

    Args:
        panel: What is drawn.
        name: An identifier that no other picture of the page has.
        told: What is seen, in a sentence, for readers who do not see it.
    """
    return _svg(panel, name, told, "")


def document(panel: Panel, *, title: str) -> str:
    """Return a panel as a file that needs no style sheet, on white paper."""
    style = f"<style>{sheet_of_styles(LIGHT)}</style>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_svg(panel, "figure", title, style)}\n'


def _svg(panel: Panel, name: str, told: str, style: str) -> str:
    size = f'width="{panel.width:g}" height="{panel.height:g}"'
    view = f'viewBox="0 0 {panel.width:g} {panel.height:g}"'
    about = f'role="img" aria-labelledby="{name}-told"'
    title = f'<title id="{name}-told">{_text(told)}</title>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" {size} {view} {about}>'
    return f"{head}{title}{style}{''.join(_shapes(panel.shapes))}</svg>"


def _shapes(shapes: Iterable[Shape]) -> Iterable[str]:
    for shape in shapes:
        match shape:
            case Line():
                yield _line(shape)
            case Mark():
                yield _mark(shape)
            case Cell():
                yield _cell(shape)
            case Label():
                yield _label(shape)


def _line(line: Line) -> str:
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in line.points)
    series, dashes = "", ""
    if line.series is not None:
        own = pattern(line.series)
        series = f" c{own.colour}"
        dashes = (
            f' stroke-dasharray="{" ".join(map(str, own.dashes))}"'
            if own.dashes and line.style == "curve"
            else ""
        )
    return f'<polyline class="{line.style}{series}" points="{points}"{dashes}/>'


def _mark(mark: Mark) -> str:
    own = pattern(mark.series)
    title = f"<title>{_text(mark.title)}</title>"
    x, y = mark.at
    outline = OUTLINES[own.shape]
    if not outline:
        circle = f'cx="{x:.2f}" cy="{y:.2f}" r="{mark.size:g}"'
        return f'<circle class="mark c{own.colour}" {circle}>{title}</circle>'
    points = " ".join(f"{x + mark.size * u:.2f},{y + mark.size * v:.2f}" for u, v in outline)
    return f'<polygon class="mark c{own.colour}" points="{points}">{title}</polygon>'


def _cell(cell: Cell) -> str:
    (x, y), (width, height) = cell.at, cell.size
    place = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
    kind, round_ = (
        ("less", f' rx="{min(width, height) / 2:.2f}"') if cell.sign < 0 else ("more", "")
    )
    title = f"<title>{_text(cell.title)}</title>"
    return (
        f'<rect class="mark {kind}" {place}{round_} fill-opacity="{cell.level:.3f}">{title}</rect>'
    )


def _label(label: Label) -> str:
    x, y = label.at
    strong = ' class="strong"' if label.strong else ""
    anchor = "" if label.anchor == "start" else f' text-anchor="{label.anchor}"'
    place = f'x="{x:.2f}" y="{y:.2f}" font-size="{FONT:g}"'
    return f"<text{strong} {place}{anchor}>{_text(label.text)}</text>"


def _text(text: str) -> str:
    return escape(printable(text))
