"""Arguments and options that several commands share, and what they stand for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..registry import Registry
    from ..resolve import Plan

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run, such as runs/quickstart.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the recipe, such as --set router.use=token; may be given several times.",
    ),
]
RunSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the run's recipe, such as --set backbone.model=DIR for a model that has "
        "moved; may be given several times.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="cpu, cuda, cuda:1 or mps; without it, the fastest there is.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON lines on standard output, and nothing else.")
]
FirstPartyOnly = Annotated[
    bool,
    typer.Option("--no-external-plugins", help="Use only the plugins of the project itself."),
]


class Split(StrEnum):
    """A split that can be scored."""

    validation = "validation"
    test = "test"


def installed(first_party_only: bool = False) -> Registry:
    """Return the plugins that are installed."""
    from ..registry import Registry

    return Registry.discover(external=not first_party_only)


def planned(recipe: Path, settings: list[str] | None, registry: Registry) -> Plan:
    """Return the plan of a recipe file, changed by ``--set``."""
    from ..recipe import load_recipe
    from ..resolve import resolve

    return resolve(load_recipe(recipe, settings or ()), registry)
