"""``mtlora check``: whether a recipe can be composed, without loading torch or a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import FirstPartyOnly, Json, Settings, installed, planned
from .events import write
from .failure import reporting
from .messages import notes

Recipe = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe file, or a bundled recipe's name.")
]


@reporting
def check(
    recipe: Recipe,
    settings: Settings = None,
    json: Json = False,
    first_party_only: FirstPartyOnly = False,
) -> None:
    """Check a recipe, without loading torch or a weight.

    Every name, every option, and whether the parts fit together: all problems are told at once.
    """
    plan = planned(recipe, settings, installed(first_party_only))
    notes(plan.notices, json=json)
    described = plan.describe()
    if json:
        write({"event": "checked", **described})
        return
    from . import render

    console = render.console()
    console.print(render.parts(described["parts"]))
    console.print(render.sites(described["sites"]), *render.rows_kept(described), sep="\n")
    typer.echo("ok")
