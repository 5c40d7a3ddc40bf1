"""A table of plain values: what every page, figure and file of a report is made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import words
from .words import Format, Value

Cells = Mapping[str, Value]
"""A line of a table, by the names of its columns."""


@dataclass(frozen=True)
class Column:
    """What stands in one column, and how people see it."""

    name: str
    """For programs: the heading in CSV."""
    heading: str
    """For people."""
    format: Format = words.text

    @property
    def is_number(self) -> bool:
        """Whether it is set to the right and sorted by size."""
        return self.format is not words.text

    def show(self, cells: Cells) -> str:
        """Return a line's cell as people see it."""
        return self.format(cells[self.name])


@dataclass(frozen=True)
class Table:
    """Columns and lines."""

    name: str
    """Of its file."""
    columns: Sequence[Column]
    lines: Sequence[Cells]

    def csv(self) -> str:
        """Return it as CSV with numbers in full; a value that is not known is empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(column.name for column in self.columns)
        writer.writerows([line[column.name] for column in self.columns] for line in self.lines)
        return stream.getvalue()

    def markdown(self) -> str:
        """Return it as Markdown, as people see it."""
        rule = ["---:" if column.is_number else "---" for column in self.columns]
        lines = [[_markdown(column.heading) for column in self.columns], rule]
        lines += [[_markdown(c.show(line)) for c in self.columns] for line in self.lines]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """Return it as a ``tabular`` for LaTeX with the package ``booktabs``."""
        places = "".join("r" if column.is_number else "l" for column in self.columns)
        head = _latex_line([column.heading for column in self.columns])
        body = [_latex_line([c.show(line) for c in self.columns]) for line in self.lines]
        lines = [rf"\begin{{tabular}}{{{places}}}", r"\toprule", head, r"\midrule", *body]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _markdown(cell: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, no second cell."""
    flat = " ".join(cell.split())
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>|~&$" else letter for letter in flat)


LATEX = {
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


def _latex_line(cells: Sequence[str]) -> str:
    shown = ("".join(LATEX.get(letter, letter) for letter in " ".join(c.split())) for c in cells)
    return f"{' & '.join(shown)} \\\\"
