"""What is resolved before anything runs: cells, fairness, and rows that cannot work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ablations import ablation_in, all_cells, names, recipe_in, study_of
from hypothesis import given
from hypothesis import strategies as st
from toys import toy_recipe, toy_registry

from mtlora_core.ablate import Flags, Study, read_study
from mtlora_core.ablate.cells import Cell, with_seed
from mtlora_core.ablate.matching import nearest
from mtlora_core.compose import compose, load_tasks
from mtlora_core.errors import MtloraError
from mtlora_core.resolve import Plan
from mtlora_core.run import count_parameters


def problems(path: Path, **flags: Any) -> tuple[str, ...]:
    with pytest.raises(MtloraError) as caught:
        study_of(path, **flags)
    return caught.value.problems


# Cells.


def test_a_cell_is_named_by_its_parts_its_seed_and_a_hash_of_its_recipe(tmp_path: Path) -> None:
    first, second = all_cells(study_of(recipe_in(tmp_path), seeds="2"))

    assert first.name.startswith("side-many-grouped-s0-")
    assert second.name.startswith("side-many-grouped-s1-")
    assert len(first.name.rpartition("-")[2]) == 10


def test_the_same_recipe_is_the_same_cell_whatever_it_is_called(tmp_path: Path) -> None:
    path = ablation_in(
        tmp_path,
        "rows:\n- {name: a, recipe: toy.yaml}\n- {name: b, recipe: renamed.yaml}\n"
        "- {name: c, recipe: toy.yaml, set: {experts.count: 3}}\n"
        "- {name: d, recipe: toy.yaml, set: {experts.count: 4}}\n",
    )
    recipe_in(tmp_path, "renamed")

    a, b, c, d = all_cells(study_of(path))

    assert a.name == b.name == c.name != d.name


def test_a_cells_name_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = recipe_in(tmp_path)
    code = (
        "import sys; from pathlib import Path; from ablations import *\n"
        "print(*(cell.name for cell in all_cells(study_of(Path(sys.argv[1])))))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )

    assert done.stdout.split() == [cell.name for cell in all_cells(study_of(path))], done.stderr


def test_the_recipe_of_a_cell_resolves_to_its_own_plan(tmp_path: Path) -> None:
    (cell,) = all_cells(study_of(recipe_in(tmp_path), seeds="7,"))
    path = tmp_path / "cell.yaml"
    path.write_text(cell.text())

    (again,) = all_cells(study_of(path))

    assert again.name == cell.name
    assert again.seed == 7


def test_planning_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ablations import *\n"
        "study_of(Path(sys.argv[1]), swap=['experts.count=1,2'], seeds='3')\n"
        "sys.exit('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(recipe_in(tmp_path))], cwd=Path(__file__).parent
    )

    assert done.returncode == 0


# Rows that cannot work.


def test_every_row_that_cannot_work_is_told_before_any_runs(tmp_path: Path) -> None:
    found = problems(recipe_in(tmp_path), swap=["router=each,whole,{use: grouped, groups: 3}"])

    assert any(line.startswith("row 'whole': ") and "sequence" in line for line in found)
    assert any("3 does not divide 8" in line for line in found)
    assert found[-1] == "leave out rows that cannot work by --skip-invalid"


def test_rows_that_cannot_work_are_left_out_on_request(tmp_path: Path) -> None:
    path = recipe_in(tmp_path)

    study = study_of(path, swap=["router=whole,each,grouped"], skip_invalid=True)

    assert names(study) == ["each", "grouped"]
    assert study.baseline == "each"
    assert [name for name, _ in study.skipped] == ["whole"]


def test_an_ablation_without_a_row_that_works_is_refused_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(MtloraError, match="row 'whole'"):
        study_of(
            recipe_in(tmp_path),
            swap=["router=whole,pooled"],
            set=["backbone.causal=true"],
            skip_invalid=True,
        )


# Tuning.


def test_every_choice_is_a_run_with_seeds_and_steps_of_its_own(tmp_path: Path) -> None:
    study = study_of(
        recipe_in(tmp_path),
        swap=["experts.count=2,3"],
        seeds="2",
        tune=["train.learning_rate=1e-4,1e-3", "experts.rank=1,2"],
        tune_seeds="100,101",
        tune_steps=5,
    )

    row = study.rows[0]
    trials = [cell for each in row.candidates for cell in study.trials(row, each)]
    assert [dict(each.values) for each in row.candidates] == [
        {"train.learning_rate": rate, "experts.rank": rank}
        for rate in ("0.0001", "0.001")
        for rank in ("1", "2")
    ]
    assert [cell.seed for cell in trials] == [100, 101] * 4
    assert {cell.plan.recipe.train.steps for cell in trials} == {5}
    assert row.candidates[-1].plan.recipe.train.steps is None
    assert row.candidates[-1].plan.recipe.train.learning_rate == 1e-3
    assert len({cell.name for cell in trials}) == 8


def test_seeds_that_choose_are_not_among_those_reported(tmp_path: Path) -> None:
    found = problems(recipe_in(tmp_path), seeds="100,1", tune=["train.learning_rate=1e-4,1e-3"])

    assert "tune.seeds: [100] are reported too" in found[0]


def test_a_choice_that_cannot_work_is_told_before_any_runs(tmp_path: Path) -> None:
    found = problems(recipe_in(tmp_path), tune=["experts.rank=2,99"])

    assert any("99 is over the width 8" in line for line in found)


# What rows are given as much of.


def toy_study(folder: Path, **flags: Any) -> Study:
    path = folder / "toy.yaml"
    path.write_text(json.dumps(toy_recipe()))
    return read_study(path, Flags(**flags), toy_registry())


def adapters(plan: Plan) -> int:
    return count_parameters(compose(plan, load_tasks(plan)))["adapters"]


def test_ranks_are_solved_so_that_adapters_are_nearest_the_baselines(tmp_path: Path) -> None:
    study = toy_study(
        tmp_path,
        swap=[
            "experts={use: hydra, count: 4, rank: 8},{use: hydra, count: 2, rank: 2},"
            "{use: moe, count: 4, rank: 4}"
        ],
        match="parameters",
    )

    target = adapters(study.rows[0].plan)
    for row in study.rows[1:]:
        match = row.match
        assert match is not None
        assert (match.key, match.target) == ("experts.rank", target)
        assert match.reached == adapters(row.plan)
        assert row.plan.recipe.experts.options["rank"] == match.after
        nearby = [_with_rank(row.plan, match.after + step) for step in (-4, -1, 1, 4)]
        assert all(abs(target - match.reached) <= abs(target - each) for each in nearby if each)
    assert study.rows[0].match is None
    moe = study.rows[2].match
    assert moe is not None
    assert moe.after % 4 == 0  # four experts share the rank


def _with_rank(plan: Plan, rank: int) -> int | None:
    experts = {"use": "hydra", "count": 2, "rank": rank}
    if plan.experts.component.name == "moe":
        experts = {"use": "moe", "count": 4, "rank": rank}
    from mtlora_core.recipe import load_recipe
    from mtlora_core.resolve import resolve

    try:
        return adapters(resolve(load_recipe({**toy_recipe(), "experts": experts}), toy_registry()))
    except MtloraError:
        return None


@given(
    start=st.integers(1, 40),
    unit=st.integers(1, 6),
    slope=st.integers(1, 50),
    base=st.integers(0, 300),
    target=st.integers(1, 5000),
)
def test_nearest_finds_what_trying_every_value_finds(
    start: int, unit: int, slope: int, base: int, target: int
) -> None:
    start *= unit

    def count(value: int) -> int | None:
        return base + slope * value if value >= 1 and value % unit == 0 else None

    found = nearest(count, start, target)

    tried = [(abs(base + slope * v - target), v) for v in range(unit, 6000, unit)]
    assert (abs((count(found) or 0) - target), found) == min(tried)


@given(
    start=st.integers(1, 40),
    more=st.integers(0, 400),
    unit=st.integers(1, 6),
    slope=st.integers(1, 50),
    target=st.integers(1, 5000),
)
def test_nearest_tries_values_up_to_the_largest_that_can_be(
    start: int, more: int, unit: int, slope: int, target: int
) -> None:
    start *= unit

    def count(value: int) -> int | None:
        return slope * value if 1 <= value <= start + more and value % unit == 0 else None

    found = nearest(count, start, target)

    tried = [(abs(slope * v - target), v) for v in range(unit, start + more + 1, unit)]
    assert (abs(slope * found - target), found) == min(tried)


def test_a_row_that_sets_what_would_be_solved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MtloraError, match=r"sets experts\.rank, which match: parameters solves"):
        toy_study(tmp_path, swap=["experts.rank=2,4"], match="parameters")


def test_tuning_what_changes_the_count_is_refused_where_rows_are_matched(tmp_path: Path) -> None:
    swap = ["router=token,task"]

    with pytest.raises(MtloraError) as caught:
        toy_study(tmp_path, swap=swap, match="parameters", tune=["experts.count=2,4"])
    study = toy_study(tmp_path, swap=swap, match="parameters", tune=["experts.alpha=2,4"])

    assert re.match(
        r"row 'token': tune: experts\.count=2 makes [\d,]+ adapter parameters of [\d,]+, which "
        r"match: parameters holds still; make it a row, by swap",
        caught.value.problems[0],
    )
    for row in study.rows:
        assert {adapters(each.plan) for each in row.candidates} == {adapters(row.plan)}


def test_tuning_what_changes_the_steps_is_refused_where_rows_are_matched(tmp_path: Path) -> None:
    tune = ["train.batch_size=4,8"]

    with pytest.raises(MtloraError, match=r"train\.batch_size=4 makes 36 steps of 18, which match"):
        toy_study(tmp_path, match="steps", tune=tune)

    assert toy_study(tmp_path, match="steps", tune=tune, set=["train.steps=9"]).rows[0].candidates


def test_a_baseline_that_cannot_be_tuned_is_not_left_out(tmp_path: Path) -> None:
    flags = {"swap": ["backbone.width=8,128"], "tune": ["experts.rank=2,99"]}

    with pytest.raises(MtloraError, match=r"row 'width 8': .*99 is over the width 8"):
        study_of(recipe_in(tmp_path), skip_invalid=True, **flags)

    other = study_of(recipe_in(tmp_path), skip_invalid=True, baseline="width 128", **flags)
    assert names(other) == ["width 128"]


def test_a_count_that_cannot_be_reached_is_a_warning(tmp_path: Path) -> None:
    study = toy_study(
        tmp_path, swap=["experts.count=1,64"], set=["experts.rank=1"], match="parameters"
    )

    assert any("comes no nearer to the baseline's" in line for line in study.warnings)


def test_steps_are_the_baselines_whatever_an_epoch_of_a_row_has(tmp_path: Path) -> None:
    study = toy_study(tmp_path, swap=["train.batch_size=4,8"], match="steps")

    baseline, other = study.rows
    # 40, 20 and 10 examples in batches of 4, for two epochs.
    assert (baseline.match, baseline.plan.recipe.train.steps) == (None, None)
    assert other.plan.recipe.train.steps == 36
    assert [line.partition(":")[0] for line in study.warnings] == ["not comparable in batch_size"]


# Whether rows are comparable.


@pytest.mark.parametrize(
    ("swap", "aspect", "told"),
    [
        ("train.steps=5,9", "training", "with 9 steps, the baseline with 5 steps"),
        ("train.epochs=1,2", "training", "with 2 epochs, the baseline with 1 epochs"),
        ("train.batch_size=8,4", "batch_size", "with 4, the baseline with 8"),
        ("tasks={use: data},{use: data, columns: {a: b}}", "tasks", "columns: {a: b}"),
        ("backbone.width=8,16", "backbone", "width: 16"),
        ("evaluate.max_new_tokens=8,4", "evaluate", "the baseline with"),
        ("subset.count=1,2", "subset", "count=2"),
    ],
)
def test_rows_that_differ_in_what_is_held_still_are_warned_of(
    tmp_path: Path, swap: str, aspect: str, told: str
) -> None:
    (warning,) = study_of(recipe_in(tmp_path), swap=[swap]).warnings

    assert warning.startswith(f"not comparable in {aspect}: ")
    assert told in warning


def test_more_tasks_are_what_a_scaling_study_is_about(tmp_path: Path) -> None:
    study = study_of(recipe_in(tmp_path), tasks="1,2", swap=["train.batch_size=8,4"])

    assert [line.partition(":")[0] for line in study.warnings] == ["not comparable in batch_size"]


def test_rows_of_other_parts_are_comparable(tmp_path: Path) -> None:
    swap = ["router=each,grouped", "experts.count=2,3", "train.learning_rate=1e-4,1e-3"]

    assert study_of(recipe_in(tmp_path), swap=swap).warnings == []


def test_with_seed_changes_the_seed_and_nothing_else(tmp_path: Path) -> None:
    (row,) = study_of(recipe_in(tmp_path)).rows
    plan = with_seed(row.plan, 5)

    assert plan.recipe.seed == 5
    assert replace(plan, recipe=row.plan.recipe) == row.plan
    assert Cell("a", plan).seed == 5


def test_tuning_runs_leave_the_test_split_alone(tmp_path: Path) -> None:
    study = study_of(ablation_in(tmp_path, "recipe: toy.yaml\ntune: {experts.count: [3, 4]}\n"))

    row = study.rows[0]
    trials = [cell for each in row.candidates for cell in study.trials(row, each)]

    assert [cell.plan.recipe.evaluate.test for cell in trials] == [False, False]
    assert all(each.plan.recipe.evaluate.test for each in row.candidates)


def test_a_row_that_is_not_scored_on_the_test_split_is_refused(tmp_path: Path) -> None:
    path = ablation_in(tmp_path, "recipe: toy.yaml\nset: {evaluate.test: false}\n")

    (problem, _) = problems(path)

    assert "evaluate.test: is false, and the table is of test scores" in problem
