"""What the recipes of ``examples/`` have in common, and that a benchmark runs each."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes import ROOT, text_recipes, whole_recipes

from mtlora_core.recipe import Recipe, load_recipe

QUICKSTART = "quickstart.yaml"
"""Spelt out line by line for newcomers; mtlora.yaml is the same method."""

METHODS = [path for path in text_recipes() if path.name != QUICKSTART]
each_method = pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)


def method(recipe: Recipe) -> object:
    return recipe.placement, recipe.experts, recipe.router, recipe.regularizers


def test_there_is_a_recipe_of_every_method_and_row() -> None:
    assert {path.stem for path in METHODS} >= {
        "dora",
        "hydralora",
        "lora",
        "moelora",
        "mtl-lora",
        "mtlora",
        "mtlora-block",
        "mtlora-block-routing",
        "mtlora-block-spectral",
        "multilora",
        "ortho-lora",
        "single-task",
        "smora",
        "uniform-orthogonality",
        "upgrad",
    }


@pytest.mark.parametrize("path", whole_recipes(), ids=lambda path: path.stem)
def test_a_recipe_is_named_after_its_file_and_says_what_it_is(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]

    assert load_recipe(path).name == path.stem
    assert first.startswith("# ")


@each_method
def test_a_method_opens_with_two_lines_what_it_is_and_its_paper(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()

    assert [line.startswith("#") for line in lines[:3]] == [True, True, False]
    assert "arXiv" in lines[0] + lines[1]


@each_method
def test_methods_differ_in_their_parts_alone(path: Path) -> None:
    own, other = load_recipe(path), load_recipe(ROOT / "examples" / "lora.yaml")

    assert (own.backbone, own.tasks, own.train, own.seed) == (
        other.backbone,
        other.tasks,
        other.train,
        other.seed,
    )


def test_no_two_methods_are_the_same() -> None:
    recipes = [load_recipe(path) for path in METHODS]

    assert all(method(a) != method(b) for a in recipes for b in recipes if a is not b)


def test_the_rows_of_the_ablation_are_mtlora_without_a_part_or_two() -> None:
    whole, block, routing, spectral = (
        load_recipe(ROOT / "examples" / f"mtlora{row}.yaml")
        for row in ("", "-block", "-block-routing", "-block-spectral")
    )
    penalties = {each.use: each for each in whole.regularizers}
    assert set(penalties) == {"spectral-aware", "balance"}

    for row in (block, routing, spectral):
        assert (row.placement, row.experts) == (whole.placement, whole.experts)
    assert routing.router == whole.router
    assert block.router == spectral.router != whole.router
    assert spectral.regularizers == whole.regularizers
    assert block.regularizers == routing.regularizers == (penalties["balance"],)


@each_method
def test_every_method_is_run_on_the_benchmark_as_it_stands(path: Path) -> None:
    run = load_recipe(ROOT / "benchmarks" / "textbench" / path.name)

    assert run.name == f"textbench-{path.stem}"
    assert method(run) == method(load_recipe(path))
    assert run.tasks.use == "files"
