"""What an ablation found: the numbers of its rows, and what is warned of."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ablations import (
    Event,
    Stub,
    ablation_in,
    all_cells,
    begin,
    finish,
    recipe_in,
    schedule_in,
    study_of,
)
from scipy import stats

from mtlora_core.ablate import Study, conduct, schedule
from mtlora_core.ablate.conduct import _Table
from mtlora_core.history import History
from mtlora_core.report.ablation import read_ablation
from mtlora_core.runfolder import RunFolder

SCORES = {"2": {0: 0.5, 1: 0.6, 2: 0.55}, "3": {0: 0.7, 1: 0.65, 2: 0.7}}
"""Test means by the number of experts and the seed."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("TICK", 0.01), ("LOOK", 0.03), ("PATIENCE", 0.1)):
        monkeypatch.setattr(schedule, name, seconds)


def recipe_of(home: RunFolder) -> Any:
    """Return the recipe of a cell, which its run folder has none of yet."""
    from mtlora_core.recipe import load_recipe

    return load_recipe(home.path.parents[1] / "recipes" / f"{home.path.name}.yaml")


def scored(home: RunFolder, command: Sequence[str]) -> int:
    recipe = recipe_of(home)
    count = str(recipe.experts.options["count"])
    finish(home, SCORES[count][recipe.seed])
    return 0


def conducted(study: Study, folder: Path, act: Any = scored) -> Event:
    events = list(conduct(study, schedule_in(folder, Stub(act))))
    assert events[-1]["event"] == "results"
    return events[-1]


def test_every_row_has_a_seed_before_one_has_the_next(tmp_path: Path) -> None:
    events = conduct(three_seeds(tmp_path), schedule_in(tmp_path / "a", Stub(scored)))
    begun = [(e["seed"], e["row"]) for e in events if e.get("state") == "started"]

    assert [seed for seed, _ in begun] == [0, 0, 1, 1, 2, 2]
    assert [row for _, row in begun[:2]] == [row for _, row in begun[2:4]]


def three_seeds(folder: Path, **flags: Any) -> Study:
    return study_of(recipe_in(folder), swap=["experts.count=2,3"], seeds="3", **flags)


def test_rows_have_means_intervals_and_differences_over_seeds(tmp_path: Path) -> None:
    found = conducted(three_seeds(tmp_path), tmp_path / "a")

    baseline, other = found["rows"]
    mine, base = ([*SCORES[count].values()] for count in ("3", "2"))
    expected = stats.ttest_rel(mine, base).confidence_interval(0.95)
    assert other["test"]["mean"] == pytest.approx(sum(mine) / 3)
    assert other["test"]["count"] == other["finished"] == 3
    assert baseline["difference"] is None
    assert other["difference"]["mean"] == pytest.approx((sum(mine) - sum(base)) / 3)
    assert other["difference"]["low"] == pytest.approx(expected.low)
    assert other["difference"]["high"] == pytest.approx(expected.high)
    assert other["per_task"]["two"]["test"]["mean"] == pytest.approx(sum(mine) / 3 + 0.1)
    assert other["per_task"]["two"]["difference"]["low"] == pytest.approx(expected.low)
    assert (other["parameters"]["adapters"], other["steps"], other["tasks"]) == (10, 4, 2)
    assert other["seconds"]["mean"] == 2.0
    assert (found["baseline"], found["seeds"], found["common"]) == (
        "count 2",
        [0, 1, 2],
        ["one", "two"],
    )
    assert found["warnings"] == []


def test_cells_lead_to_their_runs_and_bring_their_curves(tmp_path: Path) -> None:
    found = conducted(three_seeds(tmp_path), tmp_path / "a")

    cell = found["cells"][1]
    assert (cell["row"], cell["seed"], cell["mean"]) == ("count 2", 1, pytest.approx(0.6))
    assert cell["curve"] == [[4, 0.6]]
    assert (tmp_path / "a" / cell["run"] / "metrics.jsonl").is_file()


def test_results_are_written_as_json_and_as_a_line_for_each_task(tmp_path: Path) -> None:
    found = conducted(three_seeds(tmp_path), tmp_path / "a")

    written = json.loads((tmp_path / "a" / "results.json").read_text())
    with (tmp_path / "a" / "results.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert written.items() <= found.items()
    assert len(lines) == 2 * 3 * 2
    assert {(line["row"], line["seed"], line["task"]) for line in lines} == {
        (f"count {count}", str(seed), task)
        for count in (2, 3)
        for seed in range(3)
        for task in ("one", "two")
    }
    assert lines[0]["value"] == str(0.5 - 0.1)
    assert (lines[0]["adapters"], lines[0]["trained"], lines[0]["steps"]) == ("10", "12", "4")


def test_what_is_finished_can_be_reported_while_other_cells_run(tmp_path: Path) -> None:
    events = conduct(three_seeds(tmp_path), schedule_in(tmp_path / "a", Stub(scored)))
    reported, lines = [], []

    for event in events:
        if event.get("state") == "finished":
            reported.append([len(row.runs) for row in read_ablation(tmp_path / "a").rows])
            lines.append(len((tmp_path / "a" / "results.csv").read_text().splitlines()))

    assert reported == [[1], [1, 1], [2, 1], [2, 2], [3, 2], [3, 3]]
    assert lines == [1 + 2 * cells for cells in range(1, 7)]


def test_saving_reads_of_a_run_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    take = History._take

    def counted(history: History, record: Any) -> None:
        taken.append(record["event"])
        take(history, record)

    study, plan = three_seeds(tmp_path), schedule_in(tmp_path / "a", Stub(scored))
    list(conduct(study, plan))
    table = _Table(study, plan, {row.name: study.cells(row, row.plan) for row in study.rows}, {})
    monkeypatch.setattr(History, "_take", counted)

    table.save()
    table.save()

    assert taken == ["started", "step", "evaluated", "finished"] * 6


def test_a_second_call_gives_the_same_and_writes_nothing(tmp_path: Path) -> None:
    first = conducted(three_seeds(tmp_path), tmp_path / "a")
    paths = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in paths}

    again = conducted(three_seeds(tmp_path), tmp_path / "a")

    assert again == first
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_what_failed_is_listed_and_the_rest_is_reported(tmp_path: Path) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        if recipe_of(home).seed == 1:
            begin(home)
            return 1
        return scored(home, command)

    found = conducted(three_seeds(tmp_path), tmp_path / "a", act)

    assert [row["finished"] for row in found["rows"]] == [2, 2]
    assert len(found["failed"]) == 2
    assert found["rows"][1]["difference"]["count"] == 2
    assert "'count 3' has 2 of 3 seeds" in found["warnings"]
    assert [cell["finished"] for cell in found["cells"]] == [True, False, True] * 2


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"steps": 9}, "not comparable in steps: 'count 3' with 9, the baseline with 4"),
        (
            {"lock": {"torch": "3"}},
            "not comparable in torch: 'count 3' with 3, the baseline with 2",
        ),
        (
            {"lock": {"device": {"type": "cuda", "name": "y"}}},
            "not comparable in device: 'count 3'",
        ),
        (
            {"lock": {"data": {"one": "z", "two": "b"}}},
            "in data: 'count 3' saw other examples of one",
        ),
    ],
)
def test_what_only_the_runs_can_tell_is_warned_of(
    tmp_path: Path, changes: dict[str, Any], warning: str
) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        other = recipe_of(home).experts.options["count"] == 3
        finish(home, 0.5, **(changes if other else {}))
        return 0

    found = conducted(three_seeds(tmp_path), tmp_path / "a", act)

    assert len(found["warnings"]) == 1
    assert warning in found["warnings"][0]


def test_rows_that_were_matched_and_are_not_are_warned_of(tmp_path: Path) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        other = recipe_of(home).experts.options["count"] == 3
        finish(home, 0.5, adapters=30 if other else 10)
        return 0

    study = three_seeds(tmp_path)
    options = study.options.model_copy(update={"match": "parameters"})

    plain = conducted(study, tmp_path / "a", act)
    matched = conducted(replace(study, options=options), tmp_path / "b", act)

    assert plain["warnings"] == []
    assert matched["warnings"] == [
        "not comparable in adapter parameters: 'count 3' with 30, the baseline with 10"
    ]


def test_runs_are_held_against_the_baselines_of_the_same_seed(tmp_path: Path) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        recipe = recipe_of(home)
        if recipe.experts.options["count"] == 3 and recipe.seed == 0:
            begin(home)
            return 1
        finish(home, 0.5, lock={"data": {"one": f"drawn by {recipe.seed}", "two": "b"}})
        return 0

    found = conducted(three_seeds(tmp_path), tmp_path / "a", act)

    assert found["warnings"] == ["'count 3' has 2 of 3 seeds"]


def test_rows_of_other_tasks_are_compared_on_those_they_share(tmp_path: Path) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        large = recipe_of(home).experts.options["count"] == 3
        finish(home, 0.5, tasks={"one": 0.6 if large else 0.5, **({"three": 0.0} if large else {})})
        return 0

    found = conducted(three_seeds(tmp_path), tmp_path / "a", act)

    large = found["rows"][1]
    assert found["common"] == ["one", "two"]
    assert large["test"]["mean"] == pytest.approx((0.6 + 0.6 + 0.0) / 3)
    assert large["common"]["mean"] == pytest.approx(0.6)
    assert large["difference"]["mean"] == pytest.approx(0.05)


# Tuning.


def tuned(folder: Path) -> Study:
    return study_of(
        recipe_in(folder),
        swap=["experts.count=2,3"],
        seeds="2",
        tune=["train.learning_rate=1e-4,1e-3,1e-2"],
        tune_seeds="100,101",
    )


def by_rate(home: RunFolder, command: Sequence[str]) -> int:
    """Finish with a validation that is best at 1e-3 and a test that is best at 1e-2."""
    recipe = recipe_of(home)
    rate = recipe.train.learning_rate
    best = 1e-3 if recipe.experts.options["count"] == 2 else 1e-4
    finish(home, rate * 10, validation=0.9 if rate == best else 0.5 + recipe.seed / 1000)
    return 0


def test_each_row_is_reported_with_what_did_best_on_validation(tmp_path: Path) -> None:
    found = conducted(tuned(tmp_path), tmp_path / "a", by_rate)

    first, second = found["rows"]
    assert first["tuning"]["chosen"] == {"train.learning_rate": "0.001"}
    assert second["tuning"]["chosen"] == {"train.learning_rate": "0.0001"}
    assert [each["validation"] for each in first["tuning"]["trials"]] == [
        pytest.approx(0.5 + 0.1005),
        pytest.approx(0.9),
        pytest.approx(0.5 + 0.1005),
    ]
    assert first["test"]["mean"] == pytest.approx(0.01)
    assert found["tuned"] == {"keys": ["train.learning_rate"], "seeds": [100, 101], "steps": None}
    assert {cell["seed"] for cell in found["cells"]} == {0, 1}


def test_a_choice_that_failed_is_not_chosen(tmp_path: Path) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        if recipe_of(home).train.learning_rate == 1e-3:
            begin(home)
            return 1
        return by_rate(home, command)

    found = conducted(tuned(tmp_path), tmp_path / "a", act)

    assert found["rows"][0]["tuning"]["chosen"] == {"train.learning_rate": "0.0001"}
    assert found["rows"][0]["finished"] == 2
    assert len(found["failed"]) == 4


def test_a_row_of_which_every_choice_failed_is_told_and_others_go_on(tmp_path: Path) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        if recipe_of(home).experts.options["count"] == 3:
            begin(home)
            return 1
        return by_rate(home, command)

    found = conducted(tuned(tmp_path), tmp_path / "a", act)

    assert [row["finished"] for row in found["rows"]] == [2, 0]
    assert any("'count 3' has no results: every tuning run failed" in w for w in found["warnings"])


def test_nothing_is_chosen_before_every_tuning_run_of_a_row_has_ended(tmp_path: Path) -> None:
    study = tuned(tmp_path)
    trials = [c for each in study.rows[0].candidates for c in study.trials(study.rows[0], each)]

    def act(home: RunFolder, command: Sequence[str]) -> int:
        if home.path.name == trials[-1].name:
            plan.deadline = 0.0  # the second row's tuning is left
        return by_rate(home, command)

    plan = schedule_in(tmp_path / "a", Stub(act))
    found = list(conduct(study, plan))[-1]

    assert found["undecided"] == ["count 3"]
    assert len(found["left"]) == 6 + 2
    assert found["rows"][0]["tuning"]["chosen"] is not None
    assert found["rows"][1]["tuning"] is None
    again = conducted(study, tmp_path / "a", by_rate)
    assert (again["undecided"], again["left"]) == ([], [])
    assert [row["finished"] for row in again["rows"]] == [2, 2]


def test_rows_that_share_a_cell_both_report_it(tmp_path: Path) -> None:
    text = "recipe: toy.yaml\nrows: [{name: a, set: {experts.count: 3}}, {name: b}]\n"
    study = study_of(ablation_in(tmp_path, text))
    stub = Stub(scored)

    found = list(conduct(study, schedule_in(tmp_path / "a", stub)))[-1]

    assert len(stub.jobs) == 1
    assert [row["finished"] for row in found["rows"]] == [1, 1]
    assert len({cell.name for cell in all_cells(study)}) == 1
