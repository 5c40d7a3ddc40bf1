"""Runs become rows, and rows a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write_run

from mtlora_core.errors import RunFolderError
from mtlora_core.report import compare

A = {"sst2": 0.8, "cola": 0.6}


def test_seeds_of_one_recipe_are_a_row_in_their_order(tmp_path: Path) -> None:
    study = compare([write_run(tmp_path, "lora", seed, A) for seed in (2, 0, 1)])

    (row,) = study.rows
    assert (row.name, [run.seed for run in row.runs]) == ("lora", [0, 1, 2])


def test_rows_stand_as_they_were_named_and_the_first_is_the_baseline(tmp_path: Path) -> None:
    study = compare([write_run(tmp_path, name, 0, A) for name in ("moe", "lora", "dora")])

    assert [row.name for row in study.rows] == ["moe", "lora", "dora"]
    assert study.baseline.name == "moe"
    assert [study.number(row) for row in study.rows] == [1, 2, 3]


def test_recipes_of_one_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    rates = (0.01, 0.02)
    folders = [
        write_run(tmp_path / str(rate), "lora", 0, A, train={"steps": 10, "learning_rate": rate})
        for rate in rates
    ]

    names = [row.name for row in compare(folders).rows]

    assert names == [f"lora (train.learning_rate {rate})" for rate in rates]


def test_another_baseline_can_be_asked_for(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, name, 0, A) for name in ("lora", "moe")]

    assert compare(folders, baseline="moe").baseline.name == "moe"
    with pytest.raises(RunFolderError, match="no row is called 'mow'; the rows are 'lora', 'moe'"):
        compare(folders, baseline="mow")


def test_a_run_that_is_not_finished_is_left_out_and_told(tmp_path: Path) -> None:
    whole = write_run(tmp_path, "lora", 0, A)
    part = write_run(tmp_path, "lora", 1, A, done=False)

    study = compare([whole, part])

    assert [run.seed for run in study.rows[0].runs] == [0]
    assert f"Without test scores, and left out: {part}." in study.notes
    with pytest.raises(RunFolderError, match="not finished"):
        compare([part])


def test_a_run_named_twice_counts_once_and_a_copy_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", "lora", 0, A)
    copy = write_run(tmp_path / "b", "lora", 0, A)

    assert len(compare([run, run]).rows[0].runs) == 1
    with pytest.raises(RunFolderError, match="the same recipe and seed"):
        compare([run, copy])


def test_a_damaged_record_is_told_with_its_file(tmp_path: Path) -> None:
    run = write_run(tmp_path, "lora", 0, A)
    (run / "metrics.jsonl").write_text('{"event": "finished"}\n')

    with pytest.raises(RunFolderError, match=r"metrics\.jsonl: is damaged"):
        compare([run])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no recipe\.yaml"):
        compare([tmp_path])


def test_what_makes_rows_hard_to_compare_is_told(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, "lora", seed, A) for seed in (0, 1)]
    folders.append(write_run(tmp_path, "moe", 1, {"sst2": 0.7}))

    study = compare(folders)

    notes = " ".join(study.notes)
    assert study.common == ["sst2"]
    assert "differences over the 1 of 2 that all rows have" in notes
    assert "One seed, so no spread and no interval: moe." in notes
    assert "Not the seeds of lora, so only the seeds of both are compared: moe." in notes


def test_a_task_under_another_metric_is_not_common(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path, "lora", 0, A),
        write_run(tmp_path, "moe", 0, A, metric="macro-f1"),
    ]

    study = compare(folders)

    assert study.common == []
    assert any("not held against each other" in note for note in study.notes)
