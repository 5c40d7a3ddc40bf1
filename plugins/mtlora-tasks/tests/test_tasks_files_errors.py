from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mtlora_core.errors import DataError
from mtlora_tasks.files.build import build_files
from mtlora_tasks.files.options import FilesOptions

GOOD = [{"text": f"text {n}", "label": "no" if n % 2 else "yes"} for n in range(20)]


def lines_of(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def problems_of(root: Path, *entries: dict[str, Any], **defaults: Any) -> list[str]:
    """Return what building raises, with paths relative to ``root``."""
    written = {"root": str(root), "defaults": defaults, "entries": list(entries)}
    with pytest.raises(DataError) as caught:
        build_files(FilesOptions.model_validate(written), seed=0)
    return [line.replace(f"{root}/", "") for line in caught.value.problems]


def problem_with(root: Path, content: str | bytes, file: str = "data.jsonl", **entry: Any) -> str:
    (root / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    [problem] = problems_of(root, {"name": "one", "train": file, **entry})
    return problem


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("a.jsonl", lines_of(GOOD) + '{"text": "x", label: 1}\n', "a.jsonl:21: is no JSON"),
        ("a.jsonl", lines_of(GOOD) + "\n[1, 2]\n", "a.jsonl:22: is no JSON object"),
        ("a.jsonl", lines_of(GOOD).encode() + b"{\xff}\n", "a.jsonl:21: is no UTF-8 text"),
        ("a.jsonl", b"\x00\xff\xfe" * 99, "a.jsonl:1: is no UTF-8 text"),
        (
            "a.json",
            '[{"text": "a", "label": 1},\n{"text": "b" "label": 2}]',
            "a.json:2: is no JSON",
        ),
        ("a.csv", "text,label\na,1\nb,2,3\n", "a.csv:3: has 3 fields, the header has 2"),
        ("a.csv", "text,label\na,1,1\nb,2,3\n", "a.csv:2: has 3 fields, the header has 2"),
        ("a.csv", 'text,label\n"a\nb",1\nb,2,3\n', "a.csv:4: has 3 fields, the header has 2"),
        ("a.csv", 'text,label\na,1\n"b,2\n', "a.csv:3: unexpected end of data"),
        ("a.csv", "text,label\ncafé,1\n".encode("latin-1"), "a.csv:2: is no UTF-8 text"),
        ("a.tsv", "text\tlabel\na\t1\nb\n\nc\t2\t3\n", "a.tsv:3: has 1 fields"),
        ("a.parquet", b"PAR1 of nothing", "a.parquet: is no Parquet file that can be read"),
        ("a.jsonl", "", "a.jsonl: has no rows"),
        ("a.jsonl", "\n\n", "a.jsonl: has no rows"),
        ("a.csv", "", "a.csv: has no rows"),
        ("a.csv", "text,label\n", "a.csv: has no rows"),
        ("a.json", "[]", "a.json: has no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_its_line(
    tmp_path: Path, file: str, content: str | bytes, expected: str
) -> None:
    assert problem_with(tmp_path, content, file).startswith(expected)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "", "label": "no"}, "column 'text' has an empty text"),
        ({"text": " \t", "label": "no"}, "column 'text' has an empty text"),
        ({"text": None, "label": "no"}, "column 'text' has no text"),
        ({"label": "no"}, "column 'text' has no text"),
        ({"text": "x", "label": None}, "the label is empty"),
        ({"text": "x", "label": ""}, "the label is empty"),
        ({"text": "x"}, "the label is empty"),
    ],
)
def test_a_row_that_lacks_something_is_told_by_its_line(
    tmp_path: Path, row: dict[str, Any], expected: str
) -> None:
    content = lines_of(GOOD[:3]) + "\n" + lines_of([row, *GOOD[3:]])

    assert problem_with(tmp_path, content) == f"data.jsonl:5: {expected}"


@pytest.mark.parametrize("blank", ["", "\n"])
def test_mixed_types_of_labels_are_told_by_the_line(tmp_path: Path, blank: str) -> None:
    content = lines_of(GOOD[:3]) + blank + lines_of([{"text": "x", "label": 3}])

    problem = problem_with(tmp_path, content)

    assert problem in {
        "data.jsonl:4: label 3 is a number, where the file's first label is a text",
        "data.jsonl:5: column 'label' is a number, before it is a text",
    }


def test_rows_with_one_fault_are_counted_not_listed(tmp_path: Path) -> None:
    content = lines_of([*GOOD, {"text": "", "label": "no"}, *GOOD, {"text": "", "label": "no"}])

    assert problem_with(tmp_path, content) == (
        "data.jsonl:21: column 'text' has an empty text (and 1 more such rows)"
    )


def test_lines_of_csv_count_the_breaks_in_quoted_fields(tmp_path: Path) -> None:
    content = 'text,label\n"two\nlines",no\n\n,yes\nx,yes\n'

    assert problem_with(tmp_path, content, "a.csv") == "a.csv:5: column 'text' has an empty text"


def test_a_number_where_a_text_should_be_is_shown(tmp_path: Path) -> None:
    content = lines_of([{"text": n, "label": "no"} for n in (7, 8)])

    assert problem_with(tmp_path, content) == (
        "data.jsonl:1: column 'text' has 7, which is no text (and 1 more such rows)"
    )


def test_a_fraction_is_no_class(tmp_path: Path) -> None:
    content = lines_of([*({"text": "x", "label": n} for n in (1, 2)), {"text": "x", "label": 0.5}])

    assert problem_with(tmp_path, content).startswith("data.jsonl:3: label 0.5 is no class; write")


@pytest.mark.parametrize("label", ["high", True, float("inf")])
def test_regression_needs_numbers(tmp_path: Path, label: object) -> None:
    content = lines_of([{"text": "x", "label": label}] * 2)

    problem = problem_with(tmp_path, content, objective="regression")

    assert problem.startswith(f"data.jsonl:1: label {label!r} is no number; regression needs one")


def test_a_missing_column_shows_the_columns_there_are(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, lines_of(GOOD), label="lable")

    assert problem == (
        "data.jsonl: has no column 'lable'; did you mean 'label'? the columns are text, label"
    )


def test_a_label_of_the_test_split_only_is_told_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(lines_of([GOOD[0], {"text": "x", "label": "maybe"}]))

    problem = problem_with(tmp_path, lines_of(GOOD), test="test.jsonl")

    assert problem == "test.jsonl:2: label 'maybe' is in no training row of task 'one'"


def test_listing_a_label_does_not_teach_it(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(lines_of([{"text": "x", "label": "maybe"}]))

    problem = problem_with(
        tmp_path, lines_of(GOOD), test="test.jsonl", labels=["no", "yes", "maybe"]
    )

    assert problem == "test.jsonl:1: label 'maybe' is in no training row of task 'one'"


def test_a_label_that_is_not_listed_gets_the_nearest(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, lines_of(GOOD), labels=["no", "yess"])

    assert problem == (
        "data.jsonl:1: label 'yes' is none of `labels`; did you mean 'yess'? they are no, yess "
        "(and 9 more such rows)"
    )


def test_an_index_beyond_the_labels_is_an_error(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": n} for n in (0, 1, 2)]

    problem = problem_with(tmp_path, lines_of(rows), labels=["no", "yes"])

    assert problem == "data.jsonl:3: label 2 is no index of `labels`, which go from 0 to 1"


def test_one_class_is_no_task(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, lines_of(GOOD[::2]))

    assert problem == "task 'one': every training row has the label 'yes'"


def test_class_weights_must_be_as_many_as_the_classes_found(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, lines_of(GOOD), class_weights=[1, 2, 3])

    assert problem == (
        "task 'one': class_weights has 3 weights for 2 classes (no, yes); write one for each"
    )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_share_that_is_no_row_is_an_error(tmp_path: Path, split: str) -> None:
    problem = problem_with(tmp_path, lines_of(GOOD), "data.jsonl", **{split: 0.01})

    assert problem.startswith(
        f"task 'one': a share of 0.01 of 20 training rows leaves the {split} split empty"
    )


def test_a_name_that_the_task_column_lacks_is_an_error(tmp_path: Path) -> None:
    content = lines_of([{**row, "task": "two"} for row in GOOD])

    assert problem_with(tmp_path, content, task_column="task") == (
        "task 'one': the train files have no rows with 'one' in column 'task'"
    )


def test_a_row_that_names_no_task_is_an_error(tmp_path: Path) -> None:
    content = lines_of([*({**row, "task": "one"} for row in GOOD), {**GOOD[0], "task": None}])

    assert problem_with(tmp_path, content, task_column="task") == (
        "data.jsonl:21: column 'task' names no task"
    )


def test_tasks_of_a_column_and_of_an_entry_must_not_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(lines_of([{**row, "task": "one"} for row in GOOD]))
    named = {"name": "one", "train": "data.jsonl"}
    column = {"train": "data.jsonl", "task_column": "task"}

    assert problems_of(tmp_path, named, column) == [
        "tasks: 2 tasks are named 'one'; give each entry of a file its name"
    ]


def test_a_missing_file_is_told_by_the_build_as_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()

    assert problems_of(tmp_path, {"name": "one", "train": "trian.jsonl"}) == [
        "tasks.entries.0.train: there is no trian.jsonl; did you mean 'train.jsonl'?"
    ]


def test_every_file_of_every_task_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "holes.jsonl").write_text(lines_of([{"text": "", "label": "no"}, {"text": "x"}]))

    found = problems_of(
        tmp_path,
        {"name": "one", "train": "holes.jsonl", "test": "bad.jsonl"},
        {"name": "two", "train": "empty.csv"},
    )

    assert [line.split(" ")[0] for line in found] == [
        "bad.jsonl:1:",
        "holes.jsonl:1:",
        "holes.jsonl:2:",
        "empty.csv:",
    ]
