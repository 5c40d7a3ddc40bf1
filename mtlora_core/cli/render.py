"""What a command shows, as rich renderables made from events and plans; nothing is printed here.

Every table is readable at 80 columns with task names of twenty characters. Text of a recipe or
of a data set is never read as rich's markup, in which ``[...]`` would vanish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import figures

Row = Mapping[str, Any]

COMPARED = {
    "majority": "majority",
    "tfidf": "TF-IDF",
    "heads": "heads\nonly",
    "untrained": "un-\ntrained",
    "model": "model",
}
"""What is compared for each task, and the headings of its columns."""

CONFLICTS = {"global": "pairs of tasks", "matrices": "their matrices"}
"""What the line on conflicts shows, and of what each is a share."""

OTHERS = 3
"""How many of the less likely labels stand beside a prediction."""

BEST = "bold green"
FAINT = "dim"
INDENT = 16


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: no markup, no emoji, no guessed colours."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def results(finished: Row) -> Table:
    """Return the table at the end of a run: each task's test score beside its baselines."""
    rows = {name: {**row, "model": row["value"]} for name, row in finished["test"].items()}
    columns = [column for column in COMPARED if any(column in row for row in rows.values())]
    headings = [COMPARED[column] for column in columns]
    table = new_table("task", "metric", numbers=(*headings, "95 % interval"))
    for name, row in rows.items():
        interval = figures.interval(row["low"], row["high"])
        table.add_row(Text(name), _metric(row), *_compared(row, columns), interval)
    table.add_section()
    table.add_row("mean", "", *_compared(finished["mean"], columns), "", style="bold")
    return table


def answers(finished: Row) -> Table | None:
    """Return how causal tasks were answered before and after training, by every metric.

    None where no task is causal.
    """
    rows = {name: row for name, row in finished["test"].items() if "before" in row}
    if not rows:
        return None
    names = list(next(iter(rows.values()))["metrics"])
    table = new_table("task", numbers=[f"{name}\nbefore → after" for name in names])
    for name, row in rows.items():
        before, after = row["before"], row["metrics"]
        cells = [f"{figures.score(before[n])} → {figures.score(after[n])}" for n in names]
        table.add_row(Text(name), *cells)
    return table


def conflicts(finished: Row) -> Text | None:
    """Return the line on how often tasks conflicted over a run; None where nothing was measured."""
    found = finished.get("conflicts")
    if not found:
        return None
    rates = [f"{_rate(found[level])} of {what}" for level, what in CONFLICTS.items()]
    measured = figures.amount(found["measurements"], "measured step")
    return line("conflicts", f"{', '.join(rates)}; {measured}")


def mean(finished: Row) -> str:
    """Return the mean over tasks in one line, the model's first."""
    values = finished["mean"]
    if not values:
        best, step = figures.score(finished["best_mean"]), finished["best_step"]
        return f"validation {best} at step {step:,}; the test split was left alone"
    others = [
        f"{_in_line(heading)} {figures.score(values[name])}"
        for name, heading in reversed(COMPARED.items())
        if name != "model" and name in values
    ]
    beside = f" ({', '.join(others)})" if others else ""
    return f"mean {figures.score(values['model'])}{beside}"


def _rate(row: Row) -> str:
    if row["rate"] is None:
        return figures.UNKNOWN
    return f"{row['rate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _in_line(heading: str) -> str:
    return " ".join(heading.replace("-\n", "").split())


def scores(evaluated: Row) -> Table:
    """Return the table of an evaluation: each task's score, interval and number of examples."""
    table = new_table("task", "metric", numbers=(evaluated["split"], "95 % interval", "examples"))
    for name, row in evaluated["tasks"].items():
        interval = figures.interval(row["low"], row["high"])
        numbers = figures.score(row["value"]), interval, f"{row['count']:,}"
        table.add_row(Text(name), _metric(row), *numbers)
    table.add_section()
    table.add_row("mean", "", figures.score(evaluated["mean"]), "", "", style="bold")
    return table


def parts(rows: Iterable[Row], *, options: bool = False) -> Group:
    """Return a line for each part: its place, name and package; below it, its options."""
    lines: list[RenderableType] = []
    for row in rows:
        package = f"{row['package']} {row['version']}"
        lines.append(Text.assemble(f"{row['path']:<{INDENT}}{row['name']:<22}", (package, FAINT)))
        # An option that is None is one that nothing was asked of.
        values = {name: v for name, v in row["options"].items() if v is not None}
        if options and values:
            given = ", ".join(f"{name} {_value(value)}" for name, value in values.items())
            lines.append(Padding(Text(given, FAINT), (0, 0, 0, INDENT)))
    return Group(*lines)


def sites(rows: Iterable[Row]) -> Group:
    """Return a line for each kind and width of site: how many there are, from which to which."""

    def shape(row: Row) -> tuple[str, int, int]:
        return row["kind"], row["d"], row["o"]

    groups = [(key, list(rows)) for key, rows in groupby(sorted(rows, key=shape), shape)]
    return Group(*(_site_line(*key, members) for key, members in groups))


def plan(described: Row) -> Group:
    """Return what ``compose --dry-run`` shows: parts, sites, parameters, tasks, steps."""
    return Group(
        parts(described["parts"], options=True),
        "",
        sites(described["sites"]),
        parameters(described["parameters"]),
        *rows_kept(described),
        line("steps", f"{described['steps']:,}"),
        "",
        tasks(described["tasks"]),
    )


def parameters(counts: Row) -> Text:
    """Return the line that says how many parameters are trained, of how many."""
    trainable, total = counts["trainable"], counts["total"]
    share = figures.share(trainable, total)
    return line("parameters", f"{trainable:,} of {total:,} are trained ({share})")


def rows_kept(described: Row) -> list[Text]:
    """Return a line that says what keeping the gradients of all tasks takes, if a step does."""
    if not described["rows_kept"]:
        return []
    why, sizes = " and ".join(described["rows_kept"]), described.get("rows")
    if sizes is None:
        return [line("task gradients", f"all kept in a step, tasks × shared parameters, for {why}")]
    tasks, shared = sizes["tasks"], sizes["parameters"]
    memory = figures.memory(4 * tasks * shared)
    what = f"{memory} kept in a step, {tasks:,} tasks × {shared:,} parameters"
    return [line("task gradients", f"{what}, for {why}")]


def tasks(rows: Mapping[str, Row]) -> Table:
    """Return the tasks with the sizes of their splits and how many texts will be cut."""
    names = ("classes", "train", "validation", "test", "truncated")
    table = new_table("task", "metric", numbers=names)
    for name, row in rows.items():
        table.add_row(Text(name), _metric(row), *(_size(row[name]) for name in names))
    return table


def predictions(rows: Sequence[Row]) -> Table:
    """Return what a model says of one text: a row for each task, the likeliest label first."""
    table = new_table("task", "answer", "prob.", "others")
    for row in rows:
        if row.get("value") is not None:
            table.add_row(Text(row["task"]), Text(figures.score(row["value"]), "bold"))
            continue
        answer = Text(row["label"], "bold")
        others = Text(_others(row), FAINT)
        probability = "" if row["probability"] is None else f"{row['probability']:.2f}"
        table.add_row(Text(row["task"]), answer, probability, others)
    return table


def line(name: str, text: str) -> Text:
    """Return a line that says what something is: a name, then the text, in one column."""
    return Text.assemble(f"{name:<{INDENT}}", text)


def new_table(*texts: str, numbers: Sequence[str] = ()) -> Table:
    """Return an empty table: columns of text, which fold, then of numbers."""
    table = Table(
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="bold",
    )
    for heading in texts:
        table.add_column(Text(heading), overflow="fold", vertical="top")
    for heading in numbers:
        table.add_column(Text(heading), justify="right", overflow="fold", vertical="top")
    return table


def _compared(values: Row, columns: Sequence[str]) -> list[Text]:
    found = {name: figures.score(values.get(name)) for name in columns}
    known = [value for name in columns if (value := values.get(name)) is not None]
    best = figures.score(max(known, default=None))
    # What looks equal at three decimals is marked as equal.
    return [Text(text, BEST if text == best and known else "") for text in found.values()]


def _site_line(kind: str, d: int, o: int, members: Sequence[Row]) -> Text:
    ends = " … ".join(dict.fromkeys((members[0]["name"], members[-1]["name"])))
    return line("sites", f"{figures.amount(len(members), kind)}, {d:,} → {o:,}: {ends}")


def _metric(row: Row) -> Text:
    # What counts with its sign changed says so, or a negative error would look like a fault.
    return Text("-mse" if row["metric"] == "mse" else row["metric"])


def _size(value: int | None) -> str:
    return figures.UNKNOWN if value is None else f"{value:,}"


def _others(row: Row) -> str:
    rest = {label: p for label, p in row["probabilities"].items() if label != row["label"]}
    likeliest = sorted(rest.items(), key=lambda item: -item[1])[:OTHERS]
    return ", ".join(f"{label} {probability:.2f}" for label, probability in likeliest)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)
