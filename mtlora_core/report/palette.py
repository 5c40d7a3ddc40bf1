"""The colours of a report, on light and on dark paper."""

from __future__ import annotations

from collections.abc import Mapping

Palette = Mapping[str, str]

LIGHT: Palette = {
    "paper": "#ffffff",
    "ink": "#1c1f24",
    "faint": "#5b6470",
    "grid": "#dde1e6",
    "c0": "#0060a8",
    "c1": "#b34700",
    "c2": "#00734f",
    "c3": "#a0286a",
    "c4": "#6a5000",
    "c5": "#5b3fb0",
    "c6": "#006d80",
    "c7": "#4a4a4a",
    "more": "#0060a8",
    "less": "#b34700",
}
"""Every colour of data has a contrast of at least 4.5 to the paper."""

DARK: Palette = {
    "paper": "#14171c",
    "ink": "#e8eaed",
    "faint": "#a3acb8",
    "grid": "#343b45",
    "c0": "#62b5f5",
    "c1": "#f79a5b",
    "c2": "#4fce9f",
    "c3": "#f08bc0",
    "c4": "#dcbf4f",
    "c5": "#b6a1fa",
    "c6": "#57cbe0",
    "c7": "#c2c6cc",
    "more": "#62b5f5",
    "less": "#f79a5b",
}


def variables(palette: Palette) -> str:
    """Return the colours as CSS variables."""
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


def sheet_of_styles(palette: Palette) -> str:
    """Return CSS for an SVG file of its own."""
    series = "".join(
        f"polyline.{name}{{stroke:{colour}}}.mark.{name}{{fill:{colour}}}"
        for name, colour in palette.items()
        if name[0] == "c"
    )
    return (
        f"text{{font-family:Helvetica,Arial,sans-serif;fill:{palette['ink']}}}"
        ".strong{font-weight:bold}polyline{fill:none;stroke-width:1.5}"
        f".axis,.zero{{stroke:{palette['faint']};stroke-width:1}}"
        f".zero{{stroke-dasharray:3 2}}.grid{{stroke:{palette['grid']};stroke-width:1}}"
        f".more{{fill:{palette['more']}}}.less{{fill:{palette['less']}}}{series}"
    )
