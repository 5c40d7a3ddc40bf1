"""The tables of ablations and of run folders, as rich renderables; nothing is printed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import figures, render

Row = Mapping[str, Any]


def cells(described: Row) -> Group:
    """Return what ``ablate --dry-run`` shows: rows, what each changes, and its cells."""
    tuned = any(row["trials"] for row in described["rows"])
    # Rows that are named after what they change need not say it twice.
    explained = ["changes"] * described["written"]
    numbers = ["tuning\nruns"] * tuned + ["seeds", "done"]
    table = render.new_table("row", *explained, numbers=numbers)
    for row in described["rows"]:
        changes = "\n".join(f"{key}: {value}" for key, value in row["changes"].items())
        done = sum(cell["state"] == "finished" for cell in (*row["cells"], *row["trials"]))
        counts = [str(len(row["trials"]))] * tuned + [str(row["seeds"]), str(done)]
        table.add_row(Text(row["name"]), *[Text(changes)] * described["written"], *counts)
    seeds = ", ".join(map(str, described["seeds"]))
    kind = "tuning run" if tuned else "cell"
    lines: list[RenderableType] = [table, ""]
    lines.append(Text(f"{figures.amount(described['count'], kind)}, seeds {seeds}"))
    lines += [Text(_match(row)) for row in described["rows"] if row["match"]]
    lines += [Text(f"warning: {text}", "yellow") for text in described["warnings"]]
    return Group(*lines)


def results(found: Row) -> Group:
    """Return the table at the end of an ablation: each row over seeds, beside the baseline."""
    own = found["common"] == [*found["tasks"]]
    numbers = ["mean", "sd", "±95 %", "Δ", "±95 %", "adapters", "time"]
    table = render.new_table("row", numbers=numbers)
    for row in found["rows"]:
        table.add_row(Text(row["name"]), *_row(row))
    size = figures.amount(len(found["seeds"]), "seed")
    tasks = figures.amount(len(found["tasks"]), "task") if own else "each row's own tasks"
    lines: list[RenderableType] = [table, "", Text(f"test mean over {tasks} and {size}")]
    if not own:
        common = figures.amount(len(found["common"]), "task")
        lines.append(Text(f"Δ is over the {common} that all rows have"))
    lines += [Text(line) for row in found["rows"] for line in _explained(row)]
    return Group(*lines)


def runs(rows: Sequence[Row]) -> Table:
    """Return the table of run folders."""
    table = render.new_table("run", "state", numbers=["step", "valid.", "test", "trained", "time"])
    for row in rows:
        scores = figures.score(row["validation"]), figures.score(row["test"])
        trained = figures.UNKNOWN if row["parameters"] is None else figures.rate(row["parameters"])
        steps = figures.UNKNOWN if row["steps"] is None else f"{row['step']:,}/{row['steps']:,}"
        time = figures.duration(row["seconds"])
        table.add_row(Text(row["name"]), row["state"], steps, *scores, trained, time)
    return table


def differences(title: str, rows: Sequence[Row], names: tuple[str, str]) -> Table:
    """Return a table of what differs between two runs: a key, and a value of each."""
    table = render.new_table(title, *names)
    for row in rows:
        table.add_row(Text(row["key"]), Text(row["before"]), Text(row["after"]))
    return table


def _row(row: Row) -> list[str]:
    test, difference, time = row["test"], row["difference"], row["seconds"]
    adapters = row["parameters"]["adapters"] if row["parameters"] else None
    return [
        *_pair(test, "mean"),
        figures.score(test["half"]) if test else figures.UNKNOWN,
        figures.UNKNOWN if difference is None else f"{difference['mean']:+.3f}",
        figures.score(difference["half"]) if difference else figures.UNKNOWN,
        figures.UNKNOWN if adapters is None else figures.rate(adapters),
        figures.duration(time["mean"] if time else None),
    ]


def _pair(test: Row | None, key: str) -> tuple[str, str]:
    if test is None:
        return figures.UNKNOWN, figures.UNKNOWN
    return figures.score(test[key]), figures.score(test["deviation"])


def _explained(row: Row) -> list[str]:
    lines = [_match(row)] if row["match"] else []
    if row["tuning"] and row["tuning"]["chosen"]:
        chosen = ", ".join(f"{key} {value}" for key, value in row["tuning"]["chosen"].items())
        lines.append(f"{row['name']}: {chosen}, chosen on validation")
    return lines


def _match(row: Row) -> str:
    match = row["match"]
    key = match["key"].rpartition(".")[2]
    before = "" if match["before"] in (None, match["after"]) else f", was {match['before']:,}"
    target = f"{match['reached']:,} {match['what']}, baseline {match['target']:,}"
    return f"{row['name']}: {key} {match['after']:,}{before} ({target})"
