"""From what is written, or swapped by a flag, to the rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ablations import ablation_in, names, recipe_in, study_of

from mtlora_core.ablate import Flags, read_study
from mtlora_core.ablate.settings import parted, shown
from mtlora_core.errors import MtloraError, RecipeError


def problems(path: Path, **flags: Any) -> tuple[str, ...]:
    with pytest.raises(MtloraError) as caught:
        study_of(path, **flags)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("token,fine-grained", ["token", "fine-grained"]),
        ("{use: fine-grained, groups: 8}, token", ["{use: fine-grained, groups: 8}", "token"]),
        ("[],[a],[a, {use: b, c: [1, 2]}]", ["[]", "[a]", "[a, {use: b, c: [1, 2]}]"]),
        ("'a, b',\"c, ]\"", ["'a, b'", '"c, ]"']),
        ("4", ["4"]),
    ],
)
def test_commas_in_brackets_and_quotes_part_nothing(text: str, values: list[str]) -> None:
    assert parted(text) == values


def test_values_are_shown_in_one_line() -> None:
    part = {"use": "fine-grained", "groups": 8, "on": True}

    assert shown(part) == "fine-grained {groups: 8, on: true}"
    assert shown([part, "b", None, 1e-4]) == "[fine-grained {groups: 8, on: true}, b, none, 0.0001]"
    assert shown({"use": "token"}) == "token"
    assert shown({"steps": 3}) == "{steps: 3}"


def test_swaps_make_a_row_of_every_combination(tmp_path: Path) -> None:
    study = study_of(
        recipe_in(tmp_path),
        swap=[
            "router=each,{use: grouped, groups: 2}",
            "experts.count=4,16",
            "regularizers=[],[even]",
        ],
    )

    assert names(study) == [
        f"{router} · count {count} · {penalties}"
        for router in ("each", "grouped {groups: 2}")
        for count in (4, 16)
        for penalties in ("[]", "[even]")
    ]
    last = study.rows[-1].plan
    assert last.router is not None
    assert (last.router.component.name, last.recipe.experts.options["count"]) == ("grouped", 16)
    assert [b.component.name for b in last.regularizers] == ["even"]
    assert study.baseline == names(study)[0]


def test_a_part_that_is_swapped_in_keeps_the_options_it_knows_and_says_what_went(
    tmp_path: Path,
) -> None:
    study = study_of(recipe_in(tmp_path), swap=["router=each,grouped"])

    assert [dict(r.plan.recipe.router.options) for r in study.rows if r.plan.recipe.router] == [
        {},
        {"groups": 4},
    ]
    assert len(study.notices) == 1
    assert "router.groups: dropped" in study.notices[0]
    assert "(row 'each')" in study.notices[0]


def test_lists_are_edited_against_the_recipe_as_it_is(tmp_path: Path) -> None:
    study = study_of(recipe_in(tmp_path), swap=["regularizers=as-is,-apart,-even"])

    assert [[b.component.name for b in r.plan.regularizers] for r in study.rows] == [
        ["apart", "even"],
        ["even"],
        ["apart"],
    ]
    assert names(study) == ["regularizers as-is", "-apart", "-even"]


def test_an_added_part_may_have_options(tmp_path: Path) -> None:
    path = recipe_in(tmp_path, regularizers=["even"])

    study = study_of(path, swap=["regularizers=+{use: apart, weight: 0.25},as-is"])

    first, second = (row.plan.regularizers for row in study.rows)
    assert [b.options.model_dump() for b in first] == [{"weight": 1.0}, {"weight": 0.25}]
    assert len(second) == 1


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ("+apart", "regularizers has 'apart' already"),
        ("-third", "regularizers has no 'third'; it has apart, even"),
    ],
)
def test_an_edit_that_changes_nothing_is_a_problem(tmp_path: Path, edit: str, reason: str) -> None:
    found = problems(recipe_in(tmp_path), swap=[f"regularizers={edit}"])

    assert reason in found[0]


def test_rows_build_on_each_other_as_papers_tables_do(tmp_path: Path) -> None:
    study = study_of(
        ablation_in(
            tmp_path,
            "recipe: toy.yaml\n"
            "set: {train: {steps: 7}, regularizers: []}\n"
            "rows:\n"
            "- {name: + both, from: + penalty, set: {router: each}}\n"
            "- {name: baseline}\n"
            "- {name: + penalty, from: baseline, set: {regularizers: +apart, experts.rank: 3}}\n"
            "baseline: baseline\n",
        )
    )

    rows = {row.name: row.plan for row in study.rows}
    assert list(rows) == ["+ both", "baseline", "+ penalty"]
    assert [b.component.name for b in rows["+ both"].regularizers] == ["apart"]
    both = rows["+ both"]
    assert both.router is not None
    assert both.router.component.name == "each"
    assert both.recipe.experts.options["rank"] == 3
    assert rows["baseline"].regularizers == ()
    assert {plan.recipe.train.steps for plan in rows.values()} == {7}
    assert study.baseline == "baseline"
    assert dict(study.rows[0].row.changes) == {
        "regularizers": "+apart",
        "experts.rank": "3",
        "router": "each",
    }


def test_rows_may_have_recipes_of_their_own_beside_the_file(tmp_path: Path) -> None:
    recipe_in(tmp_path, "other", experts="one", router=None, regularizers=None)
    path = ablation_in(
        tmp_path, "rows:\n- {name: a, recipe: toy.yaml}\n- {name: b, recipe: other.yaml}\n"
    )

    assert [row.plan.experts.component.name for row in study_of(path).rows] == ["many", "one"]


def test_a_part_without_use_changes_the_options_it_names(tmp_path: Path) -> None:
    path = ablation_in(tmp_path, "recipe: toy.yaml\nset: {experts: {rank: 5}}\n")

    (row,) = study_of(path).rows

    assert row.plan.recipe.experts.options["rank"] == 5
    assert row.plan.recipe.experts.options["count"] == 3


def test_rows_and_swaps_multiply(tmp_path: Path) -> None:
    path = ablation_in(
        tmp_path, "recipe: toy.yaml\nrows: [{name: a}, {name: b, set: {router: each}}]\n"
    )

    study = study_of(path, swap=["experts.count=2,5"])

    assert names(study) == ["a · count 2", "a · count 5", "b · count 2", "b · count 5"]


def test_leave_one_out_takes_each_part_away_in_turn(tmp_path: Path) -> None:
    study = study_of(ablation_in(tmp_path, "recipe: toy.yaml\nleave_one_out: true\n"))

    assert names(study) == ["toy", "− apart", "− even", "− router (fixed)"]
    whole, *rows = (row.plan for row in study.rows)
    assert [[b.component.name for b in plan.regularizers] for plan in rows] == [
        ["even"],
        ["apart"],
        ["apart", "even"],
    ]
    assert rows[2].router is not None
    assert not rows[2].router.component.capabilities["learned"]
    assert whole.router == rows[0].router


def test_leave_one_out_takes_what_stands_in_from_the_file(tmp_path: Path) -> None:
    text = "recipe: toy.yaml\nleave_one_out: {router: each, experts.count: 1}\n"

    study = study_of(ablation_in(tmp_path, text))

    assert names(study)[-2:] == ["− router (each)", "− experts.count (1)"]


def test_leave_one_out_of_experts_that_take_no_router_has_no_row_for_it(tmp_path: Path) -> None:
    path = ablation_in(tmp_path, "recipe: other.yaml\nleave_one_out: true\n")
    recipe_in(tmp_path, "other", experts="one", router=None, regularizers=None)

    assert names(study_of(path)) == ["other"]


def test_numbers_of_tasks_are_rows_of_nested_subsets(tmp_path: Path) -> None:
    study = study_of(recipe_in(tmp_path), tasks="4,8,1")

    assert names(study) == ["4 tasks", "8 tasks", "1 task"]
    subsets = [row.plan.recipe.subset for row in study.rows]
    assert [(each.count, each.seed) for each in subsets if each] == [(4, 0), (8, 0), (1, 0)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rows: [{name: a}]", "study.yaml:1:8: rows.0: has neither a recipe nor a row"),
        ("recipe: toy.yaml\nrow: []", "study.yaml:2:1: row: no such key; did you mean 'rows'?"),
        (
            "recipe: toy.yaml\nrows: [{name: base}, {name: b, from: bsae}]",
            "study.yaml:2:32: from: there is no row 'bsae'; did you mean 'base'?",
        ),
        (
            "recipe: toy.yaml\nrows: [{name: a, from: b}, {name: b, from: a}]",
            "comes back to this row",
        ),
        ("recipe: toy.yaml\nrows: [{name: a}, {name: a}]", "two rows are called 'a'"),
        (
            "recipe: toy.yaml\nswap: {seed: [1, 2]}",
            "swap.seed: the seeds of an ablation are its own",
        ),
        ("recipe: toy.yaml\nset: {seed: 1}", "set.seed: the seeds of an ablation are its own"),
        (
            "recipe: toy.yaml\nmatch: rank",
            "study.yaml:2:1: match: should be 'steps' or 'parameters'",
        ),
        ("recipe: toy.yaml\nbaseline: none", "study.yaml:2:1: baseline: no row 'none' can be run"),
        ("recipe: toy.yaml\ntune: {train.steps: 3}", "tune.train.steps: must be a list of values"),
        ("recipe: toy.yaml\ntune: {seeds: [1]}", "tune: names nothing to choose"),
        (
            "recipe: toy.yaml\nrows: [{name: a}]\nleave_one_out: true",
            "leave_one_out: makes rows of its own",
        ),
        ("recipe: tyo.yaml\nseeds: 2", "tyo.yaml: no such file; did you mean 'toy.yaml'?"),
        ("recipe: toy.yaml\nseeds: 0", "study.yaml:2:1: seeds: should be greater than 0"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ablation_in(tmp_path, text + "\n")

    found = problems(Path("study.yaml"))

    assert any(line in each for each in found), found


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"swap": ["router"]}, "--swap router: write a key, '=' and values"),
        ({"swap": ["router=each", "router=grouped"]}, "router is given twice"),
        ({"swap": ["router={use: each"]}, "--swap router={use: each: not valid YAML"),
        ({"swap": ["rooter=each,grouped"]}, "rooter: no such key; did you mean 'router'?"),
        ({"set": ["train.steps"]}, "--set train.steps: write a key, '=' and a value"),
        ({"tasks": "4,many"}, "tasks.1: should be a valid integer"),
        ({"tune": ["train.steps=3"]}, "must be a list of values to choose from, not [3]"),
        ({"seeds": "x"}, "--seeds x: seeds: should be"),
    ],
)
def test_flags_are_told_as_they_were_typed(
    tmp_path: Path, flags: dict[str, object], line: str
) -> None:
    found = problems(recipe_in(tmp_path), **flags)

    assert any(line in each for each in found), found


def test_a_flag_counts_before_the_files_word(tmp_path: Path) -> None:
    path = ablation_in(
        tmp_path,
        "recipe: toy.yaml\nseeds: 2\nset: {train.steps: 9}\nswap: {experts.count: [1, 2]}\n",
    )

    study = study_of(path, seeds="5,", set=["train.steps=3"], swap=["experts.count=7,8"])

    assert study.seeds == (5,)
    assert names(study) == ["count 7", "count 8"]
    assert {row.plan.recipe.train.steps for row in study.rows} == {3}


@pytest.mark.parametrize(
    ("seeds", "expected"), [(None, (3,)), ("3", (0, 1, 2)), ("3,", (3,)), ("7,0,7", (7, 0))]
)
def test_a_number_of_seeds_counts_from_0_and_a_list_is_taken_as_it_is(
    tmp_path: Path, seeds: str | None, expected: tuple[int, ...]
) -> None:
    assert study_of(recipe_in(tmp_path, seed=3), seeds=seeds).seeds == expected


def test_a_bundled_recipe_is_found_by_its_name() -> None:
    with pytest.raises(RecipeError) as caught:
        read_study(Path("lroa"), Flags(), None)  # type: ignore[arg-type]  # never asked

    assert "no recipe 'lroa' is bundled; did you mean 'lora'?" in caught.value.problems
