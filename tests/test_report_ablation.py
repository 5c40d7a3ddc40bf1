"""The report of an ablation's folder: its rows, its baseline, and what was done to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_folders import write_ablation

from mtlora_core.errors import RunFolderError
from mtlora_core.report import is_ablation, read_ablation


def test_rows_and_baseline_are_those_of_the_ablation(tmp_path: Path) -> None:
    study = read_ablation(write_ablation(tmp_path))

    assert is_ablation(tmp_path)
    assert study.title == "Table 2"
    assert [row.name for row in study.rows] == ["+ block", "baseline"]
    assert [[run.seed for run in row.runs] for row in study.rows] == [[0], [0, 1]]
    assert study.baseline.name == "+ block"
    assert read_ablation(tmp_path, baseline="baseline").baseline.name == "baseline"


def test_what_was_tuned_matched_warned_of_and_left_out_is_told(tmp_path: Path) -> None:
    chosen = {"chosen": {"train.learning_rate": "0.001"}}
    folder = write_ablation(
        tmp_path,
        tuned={"keys": ["train.learning_rate"], "seeds": [100, 101], "steps": None},
        matched="parameters",
        rows=[{"name": "+ block", "tuning": chosen}, {"name": "baseline", "tuning": None}],
        warnings=["not comparable in steps: 'x' with 3, the baseline with 4"],
        skipped=[{"row": "moe", "reasons": ["needs a router"]}],
        failed={"cell-7": "out of memory"},
    )

    notes = " ".join(read_ablation(folder).notes)

    for told in (
        "with seeds of its own (100, 101): train.learning_rate. Chosen: + block with "
        "train.learning_rate 0.001.",
        "Matched to the baseline's: parameters.",
        "not comparable in steps",
        "Left out, since it cannot work: moe (needs a router).",
        "Failed: cell-7 (out of memory).",
    ):
        assert told in notes


def test_another_row_stands_in_for_a_baseline_that_is_not_finished(tmp_path: Path) -> None:
    study = read_ablation(write_ablation(tmp_path, baseline="late"))

    assert study.baseline.name == "+ block"
    assert "The baseline, late, is not finished: + block stands in for it." in study.notes
    with pytest.raises(RunFolderError, match="no row is called 'gone'"):
        read_ablation(tmp_path, baseline="gone")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "is of format 2, this mtlora reads 1"),
        ({"rows": []}, "no cell of the ablation is finished"),
        ({"cells": 3}, "cannot be read"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RunFolderError, match=reason):
        read_ablation(write_ablation(tmp_path, **changes))
