"""``mtlora schema``: the JSON Schema of a recipe or an ablation, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..files import write
from .arguments import FirstPartyOnly, installed
from .failure import reporting

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Where to write it; without it, it is printed."),
]

Ablation = Annotated[
    bool, typer.Option("--ablation", help="Of the files of `mtlora ablate`, not of recipes.")
]


@reporting
def schema(
    ablation: Ablation = False, out: Out = None, first_party_only: FirstPartyOnly = False
) -> None:
    """Print the JSON Schema of a recipe or an ablation, for editors.

    It has the options of every installed part: an editor that knows it completes their names and
    marks what does not fit. For the YAML extension of VS Code, write it with --out
    recipe.schema.json, and as a recipe's first line write
    "# yaml-language-server: $schema=recipe.schema.json".
    """
    from ..ablate.schema import ablation_schema
    from ..schema import recipe_schema

    of = ablation_schema if ablation else recipe_schema
    text = json.dumps(of(installed(first_party_only)), indent=2)
    if out is None:
        typer.echo(text)
    else:
        write(out, text + "\n")
