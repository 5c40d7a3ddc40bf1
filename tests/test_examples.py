"""What the recipes of ``examples/`` have in common, and that a benchmark runs each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recipes import ROOT, text_recipes, whole_recipes

from mtlora_core.ablate import Flags, Study, read_study
from mtlora_core.recipe import Recipe, load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import Plan, resolve

QUICKSTART = "quickstart.yaml"
"""Spelt out line by line for newcomers; mtlora.yaml is the same method."""

METHODS = [path for path in text_recipes() if path.name != QUICKSTART]
ABLATIONS = sorted((ROOT / "examples" / "ablations").glob("*.yaml"))
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
def test_the_readme_names_the_parts_of_a_method(path: Path) -> None:
    recipe, link = load_recipe(path), f"(examples/{path.name})"
    rows = (ROOT / "README.md").read_text("utf-8").splitlines()
    cells = next(row for row in rows if row.startswith("|") and link in row).split(" | ")[2:]
    routers = [recipe.router] if recipe.router else []
    slots = [[recipe.placement], [recipe.experts], routers, recipe.regularizers]

    assert [re.findall("`(.+?)`", cell) for cell in cells] == [
        [part.use for part in parts] for parts in slots
    ]


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


# Ablations.


def study(name: str) -> Study:
    path = ROOT / "examples" / "ablations" / f"{name}.yaml"
    return read_study(path, Flags(), Registry.discover())


def as_parts(plan: Plan) -> object:
    """Return a plan's parts; in which order penalties are added up does not matter."""
    *others, penalties = plan.placement, plan.experts, plan.router, plan.regularizers
    return others, sorted(penalties, key=lambda bound: bound.component.name)


def test_the_ablation_of_the_designs_has_the_recipes_of_its_rows() -> None:
    recipes = [
        "hydralora",
        "mtlora-block",
        "mtlora-block-spectral",
        "mtlora-block-routing",
        "mtlora",
    ]

    rows = {row.name: as_parts(row.plan) for row in study("designs").rows}

    assert [*rows.values()] == [
        as_parts(resolve(load_recipe(ROOT / "examples" / f"{name}.yaml"), Registry.discover()))
        for name in recipes
    ]


def test_the_ablation_of_the_methods_has_them_all_and_each_as_it_stands() -> None:
    rows = study("methods").rows

    sources = {Path(row.row.source).stem for row in rows}
    ablated = {name for name in (path.stem for path in METHODS) if name.startswith("mtlora-")}
    assert sources == {path.stem for path in METHODS} - ablated
    assert all(row.row.own == () for row in rows)


def test_the_ablations_of_granularity_and_placement_change_one_part_each() -> None:
    granularity = [row.plan.router for row in study("granularity").rows]
    placement = [row.plan.placement for row in study("placement").rows]

    groups = [bound.options.model_dump().get("groups", 1) for bound in granularity if bound]
    assert groups == [1, 2, 8, 16, 32]
    assert len({bound.options for bound in placement}) == 4
    for name, key in (("granularity", "router"), ("placement", "placement")):
        assert all(set(row.row.changes) <= {key} for row in study(name).rows)


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_opens_with_what_it_is_and_its_paper_and_can_be_run(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    found = study(path.stem)

    assert "arXiv 2603.01526" in lines[0] + lines[1]
    assert found.name == path.stem
    assert found.seeds == (0, 1, 2)
    assert found.warnings == []
