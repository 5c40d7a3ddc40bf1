"""The papers of a recipe's parts, as BibTeX."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_command import mtlora
from recipes import ROOT, whole_recipes

from mtlora_core import Component, Registry, load_recipe
from mtlora_core.citation import citations, components_of
from mtlora_core.errors import RecipeError

INSTALLED = [part.component for part in Registry.discover().parts()]


@pytest.mark.parametrize("part", INSTALLED, ids=lambda part: f"{part.kind}-{part.name}")
def test_every_paper_of_an_installed_part_has_authors_and_a_title(part: Component) -> None:
    if not part.paper:
        pytest.skip("the part is of no paper")
    entry = citations([part])[0]

    assert part.paper.removeprefix("arXiv:") in entry
    for field in ("title", "author", "year"):
        assert re.search(rf"^  {field} = {{.+}},?$", entry, re.MULTILINE), field
    assert entry.count("{") == entry.count("}")


@pytest.mark.parametrize("recipe", whole_recipes(), ids=lambda path: path.stem)
def test_the_papers_of_every_recipe_are_told_once(recipe: Path) -> None:
    parts = components_of(load_recipe(recipe), Registry.discover())

    entries = citations(parts)

    assert len(entries) == len({part.paper for part in parts if part.paper}) + 1
    keys = [entry.split("{")[1].split(",")[0] for entry in entries]
    assert len(keys) == len(set(keys))


def test_a_paper_without_a_reference_gets_what_is_known() -> None:
    part = Component("router", "mine", "toys:Mine", "toys:Mine", "mine", paper="arXiv:2099.00001")

    assert "eprint = {2099.00001}" in citations([part])[0]


def test_a_part_that_is_not_installed_is_told_with_its_place() -> None:
    recipe = load_recipe(ROOT / "examples/mtlora.yaml", ["router=tokn", "experts=hydr"])

    with pytest.raises(RecipeError) as caught:
        components_of(recipe, Registry.discover())

    assert len(caught.value.problems) == 2
    assert "did you mean 'token'" in str(caught.value)


def test_the_command_prints_bibtex() -> None:
    done = mtlora("cite", ROOT / "examples/mtlora.yaml")

    assert done.exit_code == 0, done.output
    assert "Scalable Multi-Task Low-Rank Model Adaptation" in done.stdout
