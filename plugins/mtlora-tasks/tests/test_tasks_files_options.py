from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtlora_tasks.files.options import FilesOptions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("trec", "sst2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").touch()
    return tmp_path


def make_options(root: Path, *entries: Any, **defaults: Any) -> FilesOptions:
    written = {"train": "{name}/train.jsonl"} | defaults
    return FilesOptions.model_validate(
        {"root": str(root), "defaults": written, "entries": list(entries)}
    )


def test_a_name_alone_is_an_entry_of_the_defaults(root: Path) -> None:
    options = make_options(root, "trec", "sst2", weight=2.0)

    assert [entry.sources("train") for entry in options.entries] == [
        ("trec/train.jsonl",),
        ("sst2/train.jsonl",),
    ]
    assert [entry.weight for entry in options.entries] == [2.0, 2.0]
    assert options.faults() == []


def test_an_entry_overrides_the_defaults_even_with_what_is_usual(root: Path) -> None:
    options = make_options(root, {"name": "trec", "text": "text"}, "sst2", text="sentence")

    assert [entry.text for entry in options.entries] == ["text", "sentence"]


def test_resolved_options_mean_the_same_when_read_again(root: Path) -> None:
    options = make_options(root, {"name": "trec", "text": "text"}, "sst2", text=["a", "b"])

    again = FilesOptions.model_validate(options.model_dump(mode="json"))

    assert again == options


def test_only_the_name_is_filled_in(root: Path) -> None:
    options = make_options(root, {"name": "trec", "train": "{name}/{label}/{0}.jsonl"})

    assert options.entries[0].sources("train") == ("trec/{label}/{0}.jsonl",)


def test_labels_may_be_written_as_yaml_reads_them(root: Path) -> None:
    options = make_options(
        root, {"name": "trec", "labels": [False, True]}, {"name": "sst2", "labels": [0, 1]}
    )

    assert [entry.labels for entry in options.entries] == [("false", "true"), ("0", "1")]


def test_the_schema_shows_the_short_spellings() -> None:
    schema = FilesOptions.model_json_schema()

    kinds = [option.get("type") for option in schema["$defs"]["Entry"]["anyOf"]]
    assert kinds == ["string", "object"]
    train = schema["$defs"]["Defaults"]["properties"]["train"]["anyOf"]
    assert [option["type"] for option in train] == ["string", "array"]


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("validation", 2, "a share of the training rows, such as 0.1"),
        ("test", 0, "a share of the training rows, such as 0.1"),
        ("text", ["one"], "two columns, such as [premise, claim]"),
        ("text", 3, "two columns, such as [premise, claim]"),
        ("labels", ["yes", "yes"], "name each once"),
        ("labels", ["yes"], "at least 2 items"),
        ("class_weights", "ballanced", "neither 'balanced' nor a list"),
        ("objective", "chat", "'classification', 'regression' or 'causal'"),
        ("options", ["yes"], "nothing to choose from"),
        ("options", ["yes", "yes"], "name each once"),
        ("options", 3, "neither a list of answers nor the column"),
        ("chat", "messages", "valid boolean"),
        ("limit", 0, "greater than 0"),
        ("weight", 0, "greater than 0"),
        ("max_length", -1, "greater than 0"),
        ("metrc", "mcc", "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_value_is_one_error_at_its_key(
    root: Path, key: str, value: Any, advice: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        make_options(root, {"name": "trec", key: value})

    assert [error["loc"] for error in caught.value.errors()] == [("entries", 0, key)]
    assert advice in caught.value.errors()[0]["msg"]


def test_no_entries_is_an_error(root: Path) -> None:
    with pytest.raises(ValidationError, match="write at least one"):
        make_options(root)


@pytest.mark.parametrize(
    ("entry", "place", "advice"),
    [
        ({"name": "trec", "train": []}, "entries.0.train", "no training rows are named"),
        ({"train": "sst2/train.jsonl"}, "entries.0.name", "a task_column to take its names from"),
        ({"task_column": "task"}, "defaults.train", "this entry has none"),
        ({"name": "trec", "metric": "mse"}, "entries.0.metric", "accuracy or macro-f1 or mcc"),
        (
            {"name": "trec", "objective": "regression", "labels": ["a", "b"]},
            "entries.0.labels",
            "regression has no classes",
        ),
        (
            {"name": "trec", "objective": "regression", "class_weights": "balanced"},
            "entries.0.class_weights",
            "regression has no classes",
        ),
        (
            {"name": "trec", "labels": ["a", "b"], "class_weights": [1, 1, 1]},
            "entries.0.class_weights",
            "has 3 weights for 2 classes",
        ),
        ({"name": "trec", "validation": 0.5, "test": 0.5}, "entries.0.validation", "none is left"),
        ({"name": "trec", "train": "trec"}, "entries.0.train", "name a file in it"),
        ({"name": "trec", "train": "trec/trian.jsonl"}, "entries.0.train", "'train.jsonl'?"),
        ({"name": "trec", "test": "trce/train.jsonl"}, "entries.0.test", "did you mean 'trec'?"),
        ({"name": "trec", "train": ["a.txt"]}, "entries.0.train", "there is no"),
    ],
)
def test_keys_that_cannot_work_are_told_without_reading_data(
    root: Path, entry: dict[str, Any], place: str, advice: str
) -> None:
    found = make_options(root, entry).faults()

    assert place in [where for where, _ in found]
    assert any(where == place and advice in reason for where, reason in found)


def test_an_unknown_format_names_the_known_ones(root: Path) -> None:
    (root / "trec.txt").touch()

    found = make_options(root, {"name": "trec", "train": "trec.txt"}).faults()

    assert [where for where, _ in found] == ["entries.0.train"]
    assert found[0][1].endswith("the formats are .jsonl, .json, .csv, .tsv, .parquet, .npz")


def test_a_missing_root_is_told_once(root: Path) -> None:
    found = make_options(root / "dat", "trec", "sst2").faults()

    assert found == [("root", f"there is no {root / 'dat'}; {root} holds sst2, trec")]


def test_a_fault_of_the_defaults_is_told_once_and_there(root: Path) -> None:
    found = make_options(root, "trec", "sst2", metric="mse").faults()

    assert [where for where, _ in found] == ["defaults.metric"]


def test_two_entries_of_one_name_are_an_error(root: Path) -> None:
    found = make_options(root, "trec", "trec").faults()

    assert found == [
        ("entries.1.name", "another entry is named 'trec' too; a task's name is its own")
    ]
