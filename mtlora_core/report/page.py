"""A page: sections of sentences, tables and figures in one file that asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from . import svg
from .figure import Figure
from .forest import WIDTH
from .palette import DARK, LIGHT, variables
from .scene import Line, Mark, Panel, Shape
from .table import Table


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    name: str
    """An identifier that no other section of the page has."""
    title: str = ""
    sentences: Sequence[str] = ()
    notes: Sequence[str] = ()
    """What a reader should know before they trust the rest."""
    table: Table | None = None
    key: Mapping[int, str] = field(default_factory=dict)
    """What the series of its figures are called."""
    figures: Sequence[Figure] = ()
    stress: bool = False
    """Whether its sentences are the page's answer."""


def page(title: str, sections: Sequence[Section], footer: str) -> str:
    """Return a page as HTML: its own style and script inside, and nothing from elsewhere.

    All texts are taken as texts, whatever characters are in them; the page's policy lets no
    script run but its own and nothing be loaded.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    script = _own("page.js")
    return environment.from_string(_own("page.html.j2")).render(
        title=title,
        style=Markup(_style()),
        script=Markup(script),
        script_hash=_hash(script),
        sections=[_section(each) for each in sections],
        footer=footer,
    )


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _style() -> str:
    """Return the style sheet with its colours; on dark paper where the reader likes that."""
    dark = variables(DARK)
    names = [name for name in LIGHT if name[0] == "c"]
    series = (f".plot .{n}{{stroke:var(--{n})}}.plot .mark.{n}{{fill:var(--{n})}}" for n in names)
    return "".join(
        [
            f":root{{color-scheme:light;{variables(LIGHT)}}}",
            "@media screen and (prefers-color-scheme:dark)",
            f"{{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}",
            f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n",
            _own("page.css"),
            *series,
            ".plot .mark{stroke:none}",
        ]
    )


def _section(section: Section) -> dict[str, Any]:
    return {
        **vars(section),
        "table": section.table and _table(section.table, section.title),
        "key": [_entry(section.name, *entry) for entry in section.key.items()],
        "figures": [_figure(figure) for figure in section.figures],
    }


def _table(table: Table, label: str) -> dict[str, Any]:
    own = {"name": table.name, "columns": table.columns, "lines": table.lines}
    return {**own, "label": label or table.name}


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "reading": figure.reading,
        "layout": _layout(figure),
        "pictures": [*_pictures(figure)],
        "table": _table(figure.drawn or figure.table, f"{figure.title}: the numbers")
        | {"name": f"of-{figure.name}"},
    }


def _layout(figure: Figure) -> str:
    """Return how wide a figure and its panels may be, as a class of the style sheet."""
    if len(figure.panels) == 1:
        return "single"
    return "wide" if figure.panels[0].width < WIDTH else "wide large"


def _pictures(figure: Figure) -> Iterator[Markup]:
    for i, panel in enumerate(figure.panels):
        told = f"{panel.title or figure.title}. {figure.reading} The numbers are below."
        yield Markup(svg.picture(panel, name=f"{figure.name}-{i}", told=told))


def _entry(section: str, series: int, text: str) -> dict[str, Any]:
    shapes: list[Shape] = [
        Line([(1, 8), (33, 8)], "curve", series),
        Mark((17, 8), series, text, 4.5),
    ]
    panel = Panel(34, 16, shapes)
    name = f"{section}-key-{series}"
    picture = Markup(svg.picture(panel, name=name, told=f"the mark of row {series + 1}"))
    return {"picture": picture, "number": series + 1, "text": text}
