"""``mtlora ablate``: from a recipe and what is swapped in it to a table over seeds."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager, closing
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import TrainingError
from . import figures
from .arguments import FirstPartyOnly, Json, Settings, installed
from .events import Event, Show, write
from .failure import INTERRUPTED, fail, reporting
from .messages import notes

if TYPE_CHECKING:
    from ..ablate import Schedule, Study
    from ..registry import Registry

ABLATIONS = Path("ablations")
"""Where the folders of ablations go, if nothing else is said."""


class Match(StrEnum):
    """What every row is given as much of as the baseline has."""

    steps = "steps"
    parameters = "parameters"


What = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE|ABLATION", help="A recipe's file or bundled name, or an ablation's file."
    ),
]
Swaps = Annotated[
    list[str] | None,
    typer.Option(
        "--swap",
        metavar="KEY=V1,V2",
        help="Compare values, such as router=token,fine-grained; several make a grid.",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="N|LIST", help="How many seeds, or which, such as 0,1,7."),
]
Tasks = Annotated[
    str | None,
    typer.Option("--tasks", metavar="LIST", help="Compare numbers of tasks, such as 4,8,16."),
]
Tune = Annotated[
    list[str] | None,
    typer.Option(
        "--tune",
        metavar="KEY=V1,V2",
        help="Choose for each row on validation, such as train.learning_rate=1e-4,1e-3.",
    ),
]
TuneSeeds = Annotated[
    str | None,
    typer.Option("--tune-seeds", metavar="LIST", help="Seeds of the tuning runs; else 100."),
]
TuneSteps = Annotated[
    int | None,
    typer.Option("--tune-steps", metavar="N", min=1, help="Steps of the tuning runs."),
]
Matching = Annotated[
    Match | None,
    typer.Option("--match", help="Give every row the baseline's steps, or parameters by rank."),
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", metavar="ROW", help="The row to compare with; else the first."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The folder; without it, ablations/ and the name."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the table of cells. No training.")]
SkipInvalid = Annotated[
    bool, typer.Option("--skip-invalid", help="Leave out rows that cannot work.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="How many cells may run at a time; else one."),
]
Devices = Annotated[
    str | None,
    typer.Option("--devices", metavar="LIST", help="One for each job in turn: cuda:0,cuda:1."),
]
ExecutorName = Annotated[
    str | None,
    typer.Option("--executor", metavar="NAME", help="Where cells run; else on this machine."),
]
Budget = Annotated[
    float | None,
    typer.Option("--budget", metavar="HOURS", min=0, help="Begin no cell after this time."),
]


@reporting
def ablate(
    what: What,
    swap: Swaps = None,
    seeds: Seeds = None,
    tasks: Tasks = None,
    settings: Settings = None,
    tune: Tune = None,
    tune_seeds: TuneSeeds = None,
    tune_steps: TuneSteps = None,
    match: Matching = None,
    baseline: Baseline = None,
    out: Out = None,
    dry_run: DryRun = False,
    skip_invalid: SkipInvalid = False,
    jobs: Jobs = None,
    devices: Devices = None,
    executor: ExecutorName = None,
    budget: Budget = None,
    json: Json = False,
    first_party_only: FirstPartyOnly = False,
) -> None:
    """Run a recipe with parts swapped, over seeds; print the table.

    Call it again to go on with what is not finished, or to see the table.
    """
    from ..ablate import AblationFolder, Flags, read_study

    flags = Flags(
        swap=swap or (),
        set=settings or (),
        tune=tune or (),
        tune_seeds=tune_seeds,
        tune_steps=tune_steps,
        seeds=seeds,
        tasks=tasks,
        match=match.value if match else None,
        baseline=baseline,
        executor=executor,
    )
    registry = installed(first_party_only)
    study = read_study(what, flags, registry, skip_invalid=skip_invalid)
    home = AblationFolder(out or ABLATIONS / study.name)
    notes([*study.notices, *_skipped(study)], json=json)
    if dry_run:
        _show_cells(study, home, json=json)
        return
    schedule = _schedule(study, home, registry, jobs, devices, budget, first_party_only)
    _show_results(_followed(study, schedule, json=json), json=json)


def _skipped(study: Study) -> list[str]:
    return [f"left out: row {name!r}: {line}" for name, lines in study.skipped for line in lines]


def _schedule(
    study: Study,
    home: Any,
    registry: Registry,
    jobs: int | None,
    devices: str | None,
    budget: float | None,
    first_party_only: bool,
) -> Schedule:
    from ..ablate import Schedule, executor_of, places

    named = [each.strip() for each in (devices or "").split(",") if each.strip()]
    count = jobs or len(named) or 1
    executor = executor_of(study.executor, registry, jobs=count, home=home)
    return Schedule(
        home,
        executor,
        places(count, named, here=executor.on_this_machine),
        None if budget is None else monotonic() + budget * 3600,
        ["--no-external-plugins"] if first_party_only else [],
    )


def _followed(study: Study, schedule: Schedule, *, json: bool) -> Event:
    """Show an ablation to its end; return its last event."""
    from ..ablate import conduct
    from . import ablation_progress

    # What stops a job in a queue stops it as Ctrl-C would, and its cells with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    display: AbstractContextManager[Show] = ablation_progress.display(study, schedule, json=json)
    last: Event = {}
    try:
        with closing(conduct(study, schedule)) as events, display as show:
            for last in events:
                show(last)
    except KeyboardInterrupt:
        done = figures.amount(len(schedule.finished), "finished cell")
        line = f"interrupted, after {done}; the same command goes on with the others"
        fail([line], INTERRUPTED, json=json)
    return last


def _show_cells(study: Study, home: Any, *, json: bool) -> None:
    from ..ablate.overview import overview

    described = overview(study, home)
    if json:
        write({"event": "cells", **described})
        return
    from . import ablation_tables, render

    render.console().print(ablation_tables.cells(described))


def _show_results(found: Event, *, json: bool) -> None:
    if not json:
        from . import ablation_tables, render

        render.console().print(ablation_tables.results(found))
        typer.echo(f"\nThe ablation is in {found['folder']}: results.json, results.csv, runs/.")
    notes(found["warnings"], json=json)
    left = len(found["left"]) + len(found["undecided"]) * len(found["seeds"])
    if left:
        cells = figures.amount(left, "cell")
        notes([f"the budget is used up: {cells} left, for the same command"], json=json)
    if found["failed"]:
        raise TrainingError([f"{name}: {reason}" for name, reason in found["failed"].items()])
