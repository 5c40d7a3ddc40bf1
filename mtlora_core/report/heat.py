"""Values of pairs as a field of coloured cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .forest import SMALL
from .scene import FONT, Cell, Label, Panel, Shape, fitted

LEFT = 24.0
TOP = 40.0


@dataclass(frozen=True)
class Field:
    """One cell: where it is, and how much there is to see."""

    row: int
    column: int
    level: float
    """From 0 to 1."""
    title: str
    sign: Literal[-1, 1] = 1


def heat(cells: Sequence[Field], title: str, rows: Sequence[str], columns: Sequence[str]) -> Panel:
    """Return a panel with a cell for each field, its rows and columns named by short keys."""
    width = (SMALL - LEFT - 6) / max(len(columns), 1)
    height = max(min(width, 16.0), 8.0)
    shapes: list[Shape] = [Label((2, FONT + 2), fitted(title, SMALL - 8), strong=True)]
    for i, key in enumerate(columns):
        if i % _every(columns, width) == 0:
            shapes.append(Label((LEFT + (i + 0.5) * width, TOP - 6), key, "middle"))
    for i, key in enumerate(rows):
        if i % _every(rows, height, 12.0) == 0:
            shapes.append(Label((LEFT - 5, TOP + (i + 0.5) * height + 4), key, "end"))
    shapes += [_cell(cell, width, height) for cell in cells]
    return Panel(SMALL, TOP + len(rows) * height + 14, shapes, title)


def _cell(field: Field, width: float, height: float) -> Cell:
    """Return a field's cell: the larger and the more opaque, the higher its level."""
    share = 0.3 + 0.7 * field.level**0.5
    own = (width - 1) * share, (height - 1) * share
    x = LEFT + (field.column + 0.5) * width - own[0] / 2
    y = TOP + (field.row + 0.5) * height - own[1] / 2
    return Cell((x, y), own, 0.35 + 0.65 * field.level, field.title, field.sign)


def _every(keys: Sequence[str], room: float, need: float = 0.0) -> int:
    """Return of how many keys one has room to be written."""
    need = need or 0.6 * FONT * (max(map(len, keys), default=1) + 0.5)
    return max(1, -(-int(need) // max(int(room), 1)))
