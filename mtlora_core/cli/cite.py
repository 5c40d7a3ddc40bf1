"""``mtlora cite``: the papers of the parts that a recipe is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import FirstPartyOnly, Settings, installed
from .failure import reporting

Recipe = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe file, or a bundled recipe's name.")
]


@reporting
def cite(
    recipe: Recipe, settings: Settings = None, first_party_only: FirstPartyOnly = False
) -> None:
    """Print BibTeX of the parts that a recipe is made of."""
    from ..citation import citations, components_of
    from ..recipe import load_recipe

    read = load_recipe(recipe, settings or ())
    parts = components_of(read, installed(first_party_only))
    typer.echo("\n\n".join(citations(parts)))
