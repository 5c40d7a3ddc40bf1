"""``mtlora diagnose``: what a run's adapters do, measured, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Device, Json, RunArgument, RunSettings
from .failure import reporting

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where to write; without it, RUN/diagnosis."),
]
Examples = Annotated[
    int,
    typer.Option("--examples", min=1, help="Of each task, at most, whose routing is looked at."),
]
Draws = Annotated[
    int, typer.Option("--draws", min=1, help="Batches whose task gradients are compared.")
]
Drawn = Annotated[
    int, typer.Option("--drawn", min=1, help="Examples of each task in such a batch.")
]


@reporting
def diagnose(
    run: RunArgument,
    out: Out = None,
    examples: Examples = 64,
    draws: Draws = 32,
    drawn: Drawn = 4,
    settings: RunSettings = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure a run's routing, experts and conflicts, on a page.

    How evenly routers spread and which task uses which expert, the experts' singular values, how
    aligned they are, and how often the gradients of two tasks point against each other.
    """
    from . import progress
    from .events import write

    with progress.display(json=json) as show:
        show({"event": "phase", "name": "starting torch"})
        from ..diagnose import Diagnosis, write_diagnosis
        from ..diagnose import diagnose as measure
        from ..diagnose.write import answer

        found: Diagnosis | None = None
        for event in measure(
            run,
            examples=examples,
            draws=draws,
            drawn=drawn,
            device=device,
            overrides=settings or (),
        ):
            if isinstance(event, Diagnosis):
                found = event
            else:
                show(event)
    assert found is not None, "the diagnosis comes last"
    files = write_diagnosis(found, out or run / "diagnosis")
    if json:
        write({"event": "diagnosed", "files": files, "answer": answer(found)})
        return
    typer.echo("\n".join([*answer(found), f"The page is {files[0]}"]))
