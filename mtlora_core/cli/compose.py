"""``mtlora compose``: from a recipe to a trained model in a run folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MtloraError
from .arguments import Device, FirstPartyOnly, Json, Settings, installed, planned
from .events import Event, Show, write
from .failure import INTERRUPTED, fail, reporting
from .messages import notes

if TYPE_CHECKING:
    from ..registry import Registry
    from ..resolve import Plan

RUNS = Path("runs")
"""Where run folders go, if nothing else is said; one for each run, by the recipe's name."""

Recipe = Annotated[
    Path | None,
    typer.Argument(
        metavar="RECIPE", help="A recipe file, or a bundled recipe's name; left out with --resume."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The run folder; without it, runs/ and the name."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan: parts, sites, parameters, tasks. No training."),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", metavar="N", min=1, help="Train N steps only, such as 5 to try out."),
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped."),
]
Locked = Annotated[
    bool,
    typer.Option("--locked", help="Refuse any difference from the versions a run was made with."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors and the final mean only.")]


@reporting
def compose(
    recipe: Recipe = None,
    settings: Settings = None,
    out: Out = None,
    dry_run: DryRun = False,
    steps: Steps = None,
    resume: Resume = None,
    device: Device = None,
    locked: Locked = False,
    quiet: Quiet = False,
    json: Json = False,
    first_party_only: FirstPartyOnly = False,
) -> None:
    """Assemble a recipe's model, train it, and write its run folder.

    Under torchrun or accelerate launch, several processes train one model; with --device cuda each
    takes a GPU of its own.
    """
    _require_sense(recipe, settings, out, resume, locked)
    mute = _is_helper()
    json = json and not mute
    plan = _plan(recipe, settings, resume, installed(first_party_only))
    if not (quiet or mute):
        notes(plan.notices, json=json)
    if dry_run:
        _show_plan(plan, steps, json=json)
        return
    how = {"device": device, "steps": steps, "resume": resume is not None, "locked": locked}
    from . import progress

    display = progress.display(json=json, quiet=quiet or mute)
    folder, finished = _follow(_events(plan, resume or out, **how), resume, display, json=json)
    if not (json or mute):
        _show_results(folder, finished, plan.shape.reads, quiet=quiet)


def _is_helper() -> bool:
    """Whether another process speaks for this one: `accelerate launch` starts several."""
    return os.environ.get("RANK", "0") != "0"


def _require_sense(
    recipe: Path | None,
    settings: list[str] | None,
    out: Path | None,
    resume: Path | None,
    locked: bool,
) -> None:
    if resume is None:
        if recipe is None:
            raise MtloraError("give a RECIPE, or --resume RUN to go on with a run")
        if locked:
            raise MtloraError("--locked goes with --resume: a new run has no lock yet")
    elif recipe or settings or out:
        raise MtloraError("--resume goes on with the run's own recipe, in its own folder")


def _plan(
    recipe: Path | None, settings: list[str] | None, resume: Path | None, registry: Registry
) -> Plan:
    if recipe is not None:
        return planned(recipe, settings, registry)
    assert resume is not None, "there is a recipe or a run"
    from ..load import plan_of

    return plan_of(resume, registry)


def _events(plan: Plan, folder: Path | None, **how: Any) -> Iterator[Event]:
    yield {"event": "phase", "name": "starting torch"}
    from ..run import free_folder, run

    if _is_helper():  # it writes nothing, so it claims no name
        folder = folder or RUNS
    with nullcontext(folder) if folder else free_folder(RUNS, plan.recipe.name) as home:
        yield from run(plan, home, **how)


def _follow(
    events: Iterator[Event],
    resume: Path | None,
    display: AbstractContextManager[Show],
    *,
    json: bool,
) -> tuple[str, Event]:
    """Show a run to its end; return its folder and its last event."""
    folder = str(resume or "")
    event: Event = {}
    try:
        with display as show:
            for event in events:
                folder = event.get("folder", folder)
                show(event)
    except KeyboardInterrupt:
        fail([_interrupted(folder)], INTERRUPTED, json=json)
    return folder, event


def _interrupted(folder: str) -> str:
    if not folder:
        return "interrupted before the run had begun"
    return f"interrupted; go on with: mtlora compose --resume {shlex.quote(folder)}"


def _show_plan(plan: Plan, steps: int | None, *, json: bool) -> None:
    from ..run import describe

    described = describe(plan)
    described["steps"] = steps or described["steps"]
    if json:
        write({"event": "plan", **described})
        return
    from . import render

    render.console().print(render.plan(described))


def _show_results(folder: str, finished: Event, reads: str, *, quiet: bool) -> None:
    from . import render

    if quiet or not finished["test"]:
        typer.echo(render.mean(finished))
    if quiet:
        return
    screen = render.console()
    if finished["test"]:
        screen.print(render.results(finished))
    if (answers := render.answers(finished)) is not None:
        screen.print()
        screen.print(answers)
    if (conflicts := render.conflicts(finished)) is not None:
        screen.print()
        screen.print(conflicts)
    run = shlex.quote(folder)
    typer.echo(f"\nThe run is in {folder}. Next:")
    own = '"a text of your own"' if reads == "text" else "--image a-picture-of-your-own.png"
    typer.echo(f"  mtlora predict {run} {own}")
    typer.echo(f"  mtlora evaluate {run}")
