"""How a run is followed while it goes on: a bar on a terminal, plain lines elsewhere.

Everything here goes to standard error, so that standard output carries results only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from . import figures, render
from .events import Event, Show, write


def display(*, json: bool = False, quiet: bool = False) -> AbstractContextManager[Show]:
    """Return what shows events: as JSON lines, not at all, or to a person."""
    if json:
        return nullcontext(write)
    if quiet:
        return nullcontext(lambda event: None)
    console = render.console(stderr=True)
    return bar(console) if console.is_terminal else lines(console)


@contextmanager
def lines(console: Console) -> Iterator[Show]:
    """Show what begins, and a line at each evaluation; no control codes, no repainting."""
    story = Story()

    def show(event: Event) -> None:
        if event["event"] == "phase":
            console.print(f"{event['name']} …", soft_wrap=True)
        for line in story.lines(event):
            console.print(line, soft_wrap=True)

    yield show


@contextmanager
def bar(console: Console) -> Iterator[Show]:
    """Show a bar with loss, throughput and time left; the lines of the story scroll above it."""
    story = Story()
    with Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        expand=True,
        transient=True,
    ) as progress:
        phase = progress.add_task("starting", total=None, figures="")
        training = progress.add_task("training", visible=False, figures="")

        def show(event: Event) -> None:
            for line in story.lines(event):
                progress.console.print(line)
            match event:
                case {"event": "phase", "name": name}:
                    progress.update(training, visible=False)
                    progress.update(phase, description=name, visible=True)
                case {"event": "started", "steps": steps, "resumed_at": at}:
                    progress.update(training, total=steps, completed=at or 0)
                case {"event": "step", "step": step}:
                    progress.update(phase, visible=False)
                    described = f"step {step:,}/{story.steps:,}"
                    progress.update(training, description=described, completed=step, visible=True)
                    progress.update(training, figures=pace(event))

        yield show


def pace(step: Event) -> str:
    """Return what stands beside the bar: loss, throughput, time left."""
    rate = figures.rate(step["tokens_per_second"])
    left = figures.duration(step["seconds_left"])
    return f"loss {step['loss']:.3f}  {rate} tokens/s  {left} left"


class Story:
    """What is worth a line of its own, told from the events of a run."""

    def __init__(self) -> None:
        self.steps = 0
        """How many steps the run has."""
        self._last: Event = {}
        self._losses: list[float] = []

    def lines(self, event: Event) -> Iterator[Text]:
        """Yield the lines that ``event`` is worth, mostly none."""
        match event["event"]:
            case "note":
                yield note(event["text"])
            case "started":
                self.steps = event["steps"]
                yield from _opening(event)
            case "step":
                self._last = event
                self._losses.append(event["loss"])
            case "evaluated" if "step" in event:
                yield self._evaluated(event)
                self._losses.clear()

    def _evaluated(self, event: Event) -> Text:
        line = Text(f"step {event['step']:,}/{self.steps:,}  ")
        if self._losses:
            loss, rate = fmean(self._losses), figures.rate(self._last["tokens_per_second"])
            line.append(f"epoch {self._last['epoch']:.1f}  loss {loss:.3f}  {rate} tokens/s  ")
        line.append(f"{event['split']} {figures.score(event['mean'])}", "bold")
        return line.append("  best" if event["best"] else "", render.BEST)


def note(text: str) -> Text:
    """Return what a person should know, as a line."""
    return Text(f"note: {text}", "yellow")


def _opening(started: Event) -> Iterator[Text]:
    tasks = started["tasks"].values()
    sizes = [f"{sum(t[n] for t in tasks):,} {n}" for n in ("train", "validation", "test")]
    cut = sum(t["truncated"] for t in tasks)
    resumed = f", going on after step {started['resumed_at']:,}" if started["resumed_at"] else ""
    yield from map(note, started.get("notices", ()))
    yield render.line("run folder", f"{started['folder']} on {started['device']}")
    yield render.parameters(started["parameters"])
    yield render.line("tasks", f"{len(tasks)}: {', '.join(sizes)} examples")
    if cut:
        yield render.line("truncated", f"{figures.amount(cut, 'training example')}, at max_length")
    yield render.line("steps", f"{started['steps']:,}{resumed}")
