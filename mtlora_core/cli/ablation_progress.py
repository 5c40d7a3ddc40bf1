"""How an ablation is followed: a table on a terminal that is kept true, plain lines elsewhere.

Everything here goes to standard error, so that standard output carries results only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from . import figures, render
from .events import Event, Show, write

if TYPE_CHECKING:
    from ..ablate import Schedule, Study

ENDED = ("finished", "failed")


def display(study: Study, schedule: Schedule, *, json: bool) -> AbstractContextManager[Show]:
    """Return what shows the events of an ablation: as JSON lines, or to a person."""
    if json:
        return nullcontext(write)
    console = render.console(stderr=True)
    folder, places = schedule.home.path, figures.amount(len(schedule.devices), "job")
    console.print(f"ablation        {folder}, {places} at a time", soft_wrap=True)
    for warning in study.warnings:
        console.print(Text(f"warning: {warning}", "yellow"), soft_wrap=True)
    board = Board(study)
    return table(console, board) if console.is_terminal else lines(console, board)


@contextmanager
def lines(console: Console, board: Board) -> Iterator[Show]:
    """Show a line for whatever becomes of a cell."""

    def show(event: Event) -> None:
        board.take(event)
        for line in board.told(event):
            console.print(line, soft_wrap=True)

    yield show


@contextmanager
def table(console: Console, board: Board) -> Iterator[Show]:
    """Show the rows with what is done and under way; failures scroll above them."""
    with Live(board.table(), console=console, refresh_per_second=4, transient=True) as live:

        def show(event: Event) -> None:
            board.take(event)
            if event.get("state") in ("failed", "elsewhere"):
                live.console.print(*board.told(event))
            live.update(board.table())

        yield show


class Board:
    """Where an ablation stands, told from its events."""

    def __init__(self, study: Study) -> None:
        tuned = len(study.options.tune.seeds) if study.options.tune else 0
        self.rows = [row.name for row in study.rows]
        self.seeds = len(study.seeds)
        self.trials = {row.name: tuned * len(row.candidates) for row in study.rows}
        self.states: dict[tuple[str, bool], dict[str, str]] = {}
        """By row and whether it is tuned: the state of each cell."""
        self.under_way: dict[str, Event] = {}
        """The last progress of each row."""

    def take(self, event: Event) -> None:
        """Learn from an event."""
        if event["event"] == "cell":
            own = self.states.setdefault((event["row"], event["tuning"]), {})
            own[event["cell"]] = event["state"]
            self.under_way.pop(event["row"], None)
        elif event["event"] == "progress":
            self.under_way = {each["row"]: each for each in event["cells"]}

    def told(self, event: Event) -> Iterator[Text]:
        """Yield the line that an event is worth, if any."""
        if event["event"] == "chosen":
            chosen = ", ".join(f"{k} {v}" for k, v in (event["chosen"] or {}).items())
            yield Text(f"{event['row']}: chosen on validation: {chosen or 'nothing, all failed'}")
        if event["event"] != "cell":
            return
        kind = "tuning " if event["tuning"] else ""
        line = Text(f"{event['state']:<10}{event['row']}, {kind}seed {event['seed']}")
        line.append(f"  {event['cell']}", render.FAINT)
        for score in ("test", "validation"):
            if event.get(score) is not None:
                line.append(f"  {score} {figures.score(event[score])}", "bold")
        for key, before in (("reason", ": "), ("by", " by ")):
            if key in event:
                line.append(f"{before}{event[key]}", "red" if key == "reason" else "")
        yield line

    def table(self) -> Table:
        """Return the rows as they stand."""
        tuned = any(self.trials.values())
        found = render.new_table("row", numbers=["tuned"] * tuned + ["seeds", "step", "validation"])
        for name in self.rows:
            tuning = [self._done(name, True, self.trials[name])] * tuned
            now = self.under_way.get(name, {})
            step = f"{now['step']:,}/{now['steps']:,}" if now.get("steps") else ""
            validation = figures.score(now["validation"]) if now.get("validation") else ""
            seeds = self._done(name, False, self.seeds)
            found.add_row(Text(name), *tuning, seeds, step, validation)
        return found

    def _done(self, row: str, tuning: bool, of: int) -> str:
        states = Counter(self.states.get((row, tuning), {}).values())
        failed = f", {states['failed']} failed" if states["failed"] else ""
        return f"{states['finished']}/{of}{failed}"
