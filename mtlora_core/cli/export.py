"""``mtlora export``: a run's adapters for other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import messages
from .arguments import Json, RunArgument, RunSettings
from .events import Event
from .failure import reporting


class Format(StrEnum):
    """What can be written."""

    peft = "peft"
    merged = "merged"


class Dtype(StrEnum):
    """What merged weights can be written in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        help="peft: LoRA adapters for Hugging Face PEFT; merged: the backbone with one merged in.",
    ),
]
TaskOption = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="Only this task's update.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where to write; without it, RUN-FORMAT beside RUN."),
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Of the weights of --format merged.")]


@reporting
def export(
    run: RunArgument,
    format: FormatOption = Format.peft,
    task: TaskOption = None,
    out: Out = None,
    dtype: DtypeOption = Dtype.float32,
    settings: RunSettings = None,
    json: Json = False,
) -> None:
    """Write a run's adapters for use without mtlora.

    Where tasks have updates of their own, peft writes a folder for each. Recipes whose routing
    depends on the input cannot be written as one matrix and are refused.
    """
    from . import progress

    target = out or run.with_name(f"{run.resolve().name}-{format.value}")
    with progress.display(json=json) as show:
        for event in _events(run, target, format, task, dtype, settings):
            show(event)
            if event["event"] == "exported" and not json:
                _tell(event)


def _events(
    run: Path,
    target: Path,
    format: Format,
    task: str | None,
    dtype: Dtype,
    settings: list[str] | None,
) -> Iterator[Event]:
    yield {"event": "phase", "name": "starting torch"}
    from ..export import export as write

    yield from write(
        run,
        target,
        format=format.value,
        task=task,
        dtype=dtype.value,
        overrides=settings or (),
    )


def _tell(event: Event) -> None:
    typer.echo(f"{event['folder']}: {', '.join(event['tasks'])}")
    if "rounding" not in event:
        return
    lost = (
        f"rounding to the saved dtype changed the weights by {event['rounding']:.1%} of the update"
    )
    if event["lossy"]:
        messages.notes([f"{lost}; --dtype float32 keeps it whole"], json=False)
    else:
        typer.echo(lost)
