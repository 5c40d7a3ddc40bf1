"""``mtlora check``: whether a recipe can be composed, without loading torch or a weight."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import FirstPartyOnly, Json, Settings, installed, planned
from .events import write
from .failure import reporting
from .messages import notes

if TYPE_CHECKING:
    from ..resolve import Plan

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.")]


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
    if json:
        write({"event": "checked", "parts": _parts(plan), "sites": _sites(plan)})
        return
    from . import render

    console = render.console()
    console.print(render.parts(_parts(plan)))
    console.print(render.sites(_sites(plan)))
    typer.echo("ok")


def _parts(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "path": path,
            "kind": bound.component.kind,
            "name": bound.component.name,
            "package": bound.package,
            "version": bound.version,
            "options": bound.options.model_dump(mode="json"),
        }
        for path, bound in plan.parts()
    ]


def _sites(plan: Plan) -> list[dict[str, Any]]:
    names = ("name", "kind", "reads", "adds", "d", "o")
    return [{name: getattr(site, name) for name in names} for site in plan.sites]
