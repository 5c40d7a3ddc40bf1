"""The numbers of a report: as SciPy has them, and the same in every file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import write_run
from scipy import stats

from mtlora_core.report import compare, tables, words, write_report
from mtlora_core.report.study import Study
from mtlora_core.report.table import Column, Table
from mtlora_core.report.verdict import verdict

LORA = [{"sst2": 0.80, "cola": 0.61}, {"sst2": 0.82, "cola": 0.58}, {"sst2": 0.79, "cola": 0.64}]
MOE = [{"sst2": 0.84, "cola": 0.66}, {"sst2": 0.85, "cola": 0.64}, {"sst2": 0.84, "cola": 0.67}]


def means(scores: list[dict[str, float]]) -> list[float]:
    return [float(np.mean([*own.values()])) for own in scores]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return two rows of three seeds."""
    folders = [
        write_run(tmp_path, name, seed, own, parameters=size, router=router)
        for name, rows, size, router in (("lora", LORA, 1000, "token"), ("moe", MOE, 2000, "top-k"))
        for seed, own in enumerate(rows)
    ]
    return compare(folders)


def check(line: Mapping[str, Any], values: list[float], others: list[float]) -> None:
    """Hold a line against SciPy's t interval and paired t test."""
    interval = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    pairs = stats.ttest_rel(values, others).confidence_interval(0.95)
    found = [line[key] for key in ("mean", "deviation", "low", "high")]
    assert found == pytest.approx([np.mean(values), np.std(values, ddof=1), *interval], rel=1e-12)
    changes = [line[key] for key in ("difference", "difference_low", "difference_high")]
    expected = [np.mean(np.subtract(values, others)), pairs.low, pairs.high]
    assert changes == pytest.approx(expected, rel=1e-12)


def test_rows_have_the_intervals_and_paired_differences_of_scipy(study: Study) -> None:
    first, second = tables.rows(study).lines

    check(second, means(MOE), means(LORA))
    assert first["difference"] is None
    assert (second["pairs"], second["seeds"], second["tasks"]) == (3, 3, 2)
    assert (second["parameters"], second["seconds"], second["memory"]) == (2000, 11, 10**9 + 2)


def test_each_task_has_the_intervals_and_paired_differences_of_scipy(study: Study) -> None:
    lines = {(line["task"], line["row"]): line for line in tables.tasks(study).lines}

    assert len(lines) == 4
    for task in ("sst2", "cola"):
        own, other = ([scores[task] for scores in rows] for rows in (MOE, LORA))
        check(lines[task, "moe"], own, other)


def test_only_seeds_of_both_rows_are_paired(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, "lora", seed, LORA[seed]) for seed in (0, 1, 2)]
    folders += [write_run(tmp_path, "moe", seed, MOE[seed - 1]) for seed in (1, 2, 3)]

    line = tables.rows(compare(folders)).lines[1]

    expected = np.mean(np.subtract(means(MOE)[:2], means(LORA)[1:]))
    assert line["pairs"] == 2
    assert line["difference"] == pytest.approx(expected)


def test_differences_are_over_the_tasks_that_all_rows_have(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, "lora", 0, {"a": 0.5, "b": 0.9})]
    folders += [write_run(tmp_path, "moe", 0, {"a": 0.6})]

    line = tables.rows(compare(folders)).lines[1]

    assert line["mean"] == 0.6
    assert line["difference"] == pytest.approx(0.1)


def test_one_seed_has_neither_spread_nor_interval(tmp_path: Path) -> None:
    (line,) = tables.rows(compare([write_run(tmp_path, "lora", 0, LORA[0])])).lines

    assert [line[key] for key in ("deviation", "low", "high")] == [None] * 3


def test_curves_are_means_over_seeds_of_the_steps_that_all_have(study: Study) -> None:
    validation = [line for line in tables.validation(study).lines if line["row"] == "lora"]
    loss = [line for line in tables.loss(study).lines if line["row"] == "lora"]

    assert [line["step"] for line in validation] == [5, 10]
    assert validation[1]["mean"] == pytest.approx(np.mean(means(LORA)))
    assert [line["loss"] for line in loss] == pytest.approx([1.1 / step for step in range(1, 11)])


def test_long_curves_of_losses_are_means_of_windows() -> None:
    curve = [(step, float(step)) for step in range(1, 122)]

    thin = [*tables._thin(curve)]

    assert len(thin) <= tables.POINTS
    assert thin[0] == (3, 2.0)
    assert thin[-1] == (121, 121.0)


def test_what_differs_between_recipes_is_listed_and_nothing_else(study: Study) -> None:
    found = tables.recipes(study)

    assert [column.name for column in found.columns] == ["number", "row", "router.use"]
    assert [line["router.use"] for line in found.lines] == ["token", "top-k"]


def test_every_file_has_the_same_numbers(study: Study, tmp_path: Path) -> None:
    write_report(study, tmp_path / "out")

    with (tmp_path / "out" / "rows.csv").open(newline="") as stream:
        read = [*csv.DictReader(stream)]
    line = tables.rows(study).lines[1]
    assert {key: read[1][key] for key in line} == {key: str(value) for key, value in line.items()}
    shown = [words.score(line["mean"]), words.change(line["difference"])]
    for name in ("report.html", "results.md"):
        assert all(text in (tmp_path / "out" / name).read_text("utf-8") for text in shown)
    latex = (tmp_path / "out" / "results.tex").read_text("utf-8")
    assert all(text.replace("−", "$-$") in latex for text in shown)


def test_a_figure_has_its_numbers_beside_it_as_csv(study: Study, tmp_path: Path) -> None:
    files = write_report(study, tmp_path)

    pictures = [path for path in files if path.suffix == ".svg"]
    assert {path.stem for path in pictures} == {
        "scores",
        "differences",
        "tasks",
        "validation",
        "loss",
        "parameters",
    }
    for path in pictures:
        lines = path.with_suffix(".csv").read_text().splitlines()[1:]
        assert path.read_text("utf-8").count('class="mark') == len(lines) > 0


@pytest.mark.parametrize(
    ("cell", "markdown", "latex"),
    [
        ("a|b", r"a\|b", r"a\textbar{}b"),
        ("<b>", r"\<b\>", r"\textless{}b\textgreater{}"),
        ("two\nlines", "two lines", "two lines"),
        ("x_1 & 5%", r"x\_1 \& 5%", r"x\_1 \& 5\%"),
        ("\\input{x}", r"\\input{x}", r"\textbackslash{}input\{x\}"),
        ("−0.1", "−0.1", "$-$0.1"),
    ],
)
def test_names_cannot_break_out_of_their_cell(cell: str, markdown: str, latex: str) -> None:
    table = Table(
        "t", [Column("row", "row"), Column("n", "n", words.count)], [{"row": cell, "n": 1}]
    )

    assert table.markdown().splitlines()[2] == f"| {markdown} | 1 |"
    assert f"{latex} & 1 \\\\" in table.latex()
    assert [*csv.reader(table.csv().splitlines(keepends=True))][1] == [cell, "1"]


def test_the_answer_names_who_is_better_and_who_is_not_told_apart(tmp_path: Path) -> None:
    rows = {"lora": LORA, "moe": MOE, "even": [LORA[1], LORA[0], LORA[2]]}
    folders = [
        write_run(tmp_path, name, seed, own)
        for name, scores in rows.items()
        for seed, own in enumerate(scores)
    ]

    answer = verdict(compare(folders))

    assert answer[0].startswith("The highest mean is that of moe, 0.750")
    assert answer[1].startswith("Better than lora at the 95 % level: moe by +0.043 [")
    assert answer[2] == "Not told apart from lora by these seeds: even."
    assert "by chance" in answer[3]


@pytest.mark.parametrize(
    ("others", "told"),
    [("abc", "a, b, c"), ("abcd", "a, b, c, d"), ("abcde", "a, b, c, and 2 more")],
)
def test_the_answer_counts_rows_only_where_that_is_shorter(
    tmp_path: Path, others: str, told: str
) -> None:
    folders = [
        write_run(tmp_path, name, seed, own)
        for name in ["lora", *others]
        for seed, own in enumerate(LORA if name == "lora" else [LORA[1], LORA[0], LORA[2]])
    ]

    assert verdict(compare(folders))[1] == f"Not told apart from lora by these seeds: {told}."


def test_one_seed_tells_nothing_from_chance(tmp_path: Path) -> None:
    study = compare([write_run(tmp_path, name, 0, LORA[0]) for name in ("lora", "moe")])

    assert verdict(study)[1] == "With one seed, no difference can be told from chance."
    assert "One seed, so no spread and no interval: every row." in study.notes


def test_the_answer_of_one_row_is_that_there_is_nothing_to_compare(tmp_path: Path) -> None:
    (answer,) = verdict(compare([write_run(tmp_path, "lora", 0, LORA[0])]))

    assert "nothing to compare" in answer


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.score(-0.0312), "−0.031"),
        (words.score(float("nan")), "–"),
        (words.change(0.0119), "+0.012"),
        (words.count(713121), "713,121"),
        (words.short(713121), "713k"),
        (words.duration(42.04), "42.0 s"),
        (words.duration(180), "3.0 min"),
        (words.duration(6000), "1.7 h"),
        (words.memory(412_000_000), "412 MB"),
        (words.memory(1_300_000_000), "1.3 GB"),
        (words.memory(None), "–"),
        (words.text(0.1 + 0.2), "0.3"),
    ],
)
def test_numbers_are_written_for_people(shown: str, expected: str) -> None:
    assert shown == expected
