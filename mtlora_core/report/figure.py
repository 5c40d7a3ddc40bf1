"""A figure: a table, drawn with one mark a line, and told in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .scene import Panel, sheet
from .table import Table


@dataclass(frozen=True)
class Figure:
    """What is drawn of a table, and how to read it."""

    title: str
    reading: str
    """How to read it, in one sentence."""
    table: Table
    """Each of its lines is one mark, or of those that are drawn."""
    panels: Sequence[Panel]
    columns: int = 1
    """Panels that stand side by side in a file; a page has as many as it is wide for."""
    keyed: bool = False
    """Whether marks need the key that tells rows apart."""
    drawn: Table | None = None
    """The lines that are drawn and are on a page, where these are not all; files have all."""

    @property
    def name(self) -> str:
        """The name of its files and its place on the page."""
        return self.table.name

    @property
    def sheet(self) -> Panel:
        """All panels as one."""
        return sheet(self.panels, self.columns)
