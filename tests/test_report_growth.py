"""The report of a scaling study: one recipe over more and more tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write_run

from mtlora_core.report import compare, tables
from mtlora_core.report.figures import figures
from mtlora_core.report.scene import Line, Mark
from mtlora_core.report.study import Study
from mtlora_core.report.verdict import verdict

SCORES = {1: {"sst2": 0.8}, 2: {"sst2": 0.7, "cola": 0.2}, 3: {"sst2": 0.6, "cola": 0.9, "qa": 0.9}}
COMMON = "the 1 task of all rows"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return two recipes over one, two and three tasks, with two seeds each."""
    folders = [
        write_run(tmp_path / f"{count}", name, seed, scores, router=router, subset={"count": count})
        for name, router in (("lora", "token"), ("moe", "top-k"))
        for count, scores in SCORES.items()
        for seed in (0, 1)
    ]
    return compare(folders)


def test_a_row_has_its_mean_over_its_own_tasks_and_over_those_of_all(study: Study) -> None:
    found = {(c["row"], c["over"]): (c["tasks"], c["mean"]) for c in tables.growth(study).lines}

    names = [row.name for row in study.rows[:3]]
    own = [found[name, "its own tasks"] for name in names]
    common = [found[name, COMMON] for name in names]
    assert [tasks for tasks, _ in own] == [1, 2, 3]
    assert [mean for _, mean in own] == pytest.approx([0.8, 0.45, 0.8])
    assert [mean for _, mean in common] == pytest.approx([0.8, 0.7, 0.6])


def test_a_line_joins_the_rows_of_each_recipe_from_few_tasks_to_many(study: Study) -> None:
    (growth,) = [figure for figure in figures(study) if figure.name == "growth"]

    for panel in growth.panels:
        marks = {shape.at for shape in panel.shapes if isinstance(shape, Mark)}
        paths = [
            shape.points
            for shape in panel.shapes
            if isinstance(shape, Line) and shape.style == "axis" and marks >= {*shape.points}
        ]
        assert [len(path) for path in paths] == [3, 3]
        assert all([x for x, _ in path] == sorted(x for x, _ in path) for path in paths)


def test_rows_of_other_recipes_are_not_joined(tmp_path: Path) -> None:
    rows = {"lora": SCORES[1], "moe": SCORES[2]}
    study = compare([write_run(tmp_path, name, 0, own, router=name) for name, own in rows.items()])

    assert study.growing == []


def test_rows_with_other_tasks_are_held_against_each_other_over_those_of_all(
    study: Study,
) -> None:
    answer, *_ = verdict(study)

    assert answer.startswith("Over the 1 task of all rows, the highest mean is that of lora")
    assert "0.800" in answer


def test_rows_without_a_task_in_common_have_a_mean_over_their_own_only(tmp_path: Path) -> None:
    study = compare([write_run(tmp_path, name, 0, {name: 0.5}) for name in ("sst2", "cola")])

    assert {line["over"] for line in tables.growth(study).lines} == {"its own tasks"}
    assert verdict(study)[0].startswith("The highest mean")
