"""``mtlora schema``: every key of a recipe or an ablation, for editors and for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..files import write
from .arguments import FirstPartyOnly, installed
from .failure import reporting

if TYPE_CHECKING:
    from ..registry import Registry

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Where to write it; without it, it is printed."),
]

Ablation = Annotated[
    bool, typer.Option("--ablation", help="Of the files of `mtlora ablate`, not of recipes.")
]

Markdown = Annotated[
    bool, typer.Option("--markdown", help="A page to read in place of the JSON Schema.")
]


@reporting
def schema(
    ablation: Ablation = False,
    markdown: Markdown = False,
    out: Out = None,
    first_party_only: FirstPartyOnly = False,
) -> None:
    """Print every key of a recipe, as JSON Schema or as a page.

    The schema is for editors. It has the options of every installed part: an editor that knows
    it completes their names and marks what does not fit. For the YAML extension of VS Code, write
    it with --out recipe.schema.json, and as a recipe's first line write
    "# yaml-language-server: $schema=recipe.schema.json".
    """
    registry = installed(first_party_only)
    text = _page(ablation, registry) if markdown else _schema(ablation, registry)
    if out is None:
        typer.echo(text)
    else:
        write(out, text + "\n")


def _schema(ablation: bool, registry: Registry) -> str:
    from ..ablate.schema import ablation_schema
    from ..schema import recipe_schema

    return json.dumps((ablation_schema if ablation else recipe_schema)(registry), indent=2)


def _page(ablation: bool, registry: Registry) -> str:
    from ..ablate.reference import ablation_page
    from ..reference import recipe_page

    return "\n".join((ablation_page if ablation else recipe_page)(registry))
