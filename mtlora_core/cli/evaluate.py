"""``mtlora evaluate``: scores of a run's model on one of its splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from .arguments import Device, Json, RunArgument, RunSettings, Split
from .events import Event
from .failure import reporting

SplitOption = Annotated[Split, typer.Option("--split", help="Which examples to score.")]


@reporting
def evaluate(
    run: RunArgument,
    split: SplitOption = Split.test,
    settings: RunSettings = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Score a run's model on the examples of its recipe."""
    from . import progress, render

    scored: Event = {}
    with progress.display(json=json) as show:
        for scored in _events(run, split, settings, device):
            show(scored)
    if not json:
        render.console().print(render.scores(scored))


def _events(
    run: Path, split: Split, settings: list[str] | None, device: str | None
) -> Iterator[Event]:
    yield {"event": "phase", "name": "starting torch"}
    from ..load import evaluate as score

    yield from score(run, split=split.value, device=device, overrides=settings or ())
