from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from mtlora_core.errors import DataError
from mtlora_core.tasks import Example, TaskData
from mtlora_tasks.files.build import build_files
from mtlora_tasks.files.draw import by_seed, draw
from mtlora_tasks.files.options import FilesOptions

SHARED = Path(os.environ.get("MTLORA_SHARED", Path(__file__).parents[4] / "shared"))
TEXTBENCH = SHARED / "data" / "textbench"

Rows = Sequence[dict[str, Any]]

ROWS: Rows = [
    {"text": f"text {n}", "label": "yes" if n % 4 else "no", "other": f"other {n}"}
    for n in range(40)
]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ","
        )
        writer.writeheader()
        writer.writerows(rows)


def build(root: Path, *entries: Any, seed: int = 0, **defaults: Any) -> list[TaskData]:
    written = {"root": str(root), "defaults": defaults, "entries": list(entries)}
    return build_files(FilesOptions.model_validate(written), seed=seed)


def build_one(root: Path, rows: Rows = ROWS, seed: int = 0, **entry: Any) -> TaskData:
    write_jsonl(root / "train.jsonl", rows)
    [data] = build(root, {"name": "one", "train": "train.jsonl", **entry}, seed=seed)
    return data


def every_example(data: TaskData) -> list[Example]:
    return [example for _, examples in data.splits() for example in examples]


def texts(examples: Sequence[Example]) -> list[str]:
    return [str(example.input) for example in examples]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_task(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.{suffix}"
    match suffix:
        case "jsonl":
            write_jsonl(path, ROWS)
        case "json":
            path.write_text(json.dumps(ROWS))
        case "parquet":
            datasets.Dataset.from_list(list(ROWS)).to_parquet(path)
        case _:
            write_csv(path, ROWS)

    [data] = build(tmp_path, {"name": "one", "train": path.name})

    assert data == build_one(tmp_path)
    assert data.task.labels == ("no", "yes")
    assert sorted(texts(every_example(data))) == sorted(row["text"] for row in ROWS)


def test_nothing_is_left_in_the_cache_of_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    build_one(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.jsonl"]
    assert capfd.readouterr() == ("", "")


def test_csv_values_are_texts_as_they_stand(tmp_path: Path) -> None:
    rows = [
        {"text": text, "label": label} for text in ("NA", "007", "null") for label in ("NA", "1")
    ]
    write_csv(tmp_path / "data.csv", rows)

    [data] = build(tmp_path, {"name": "one", "train": "data.csv", "validation": 0.2, "test": 0.2})

    assert {example.input for example in every_example(data)} == {"NA", "007", "null"}
    assert data.task.labels == ("1", "NA")


DATES = ["2020-01-02", "2021-02-03 10:00:00", "2022-03-04T10:00:00Z", "2023-04-05T10:00"]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_dates_in_json_are_texts_as_they_stand(tmp_path: Path, suffix: str) -> None:
    rows = [{"label": label, "id": n, "text": DATES[n % 4]} for n in range(20) for label in DATES]
    path = tmp_path / f"data.{suffix}"
    path.write_text("\n".join(map(json.dumps, rows)) if suffix == "jsonl" else json.dumps(rows))

    [data] = build(tmp_path, {"name": "one", "train": path.name})

    assert {example.input for example in every_example(data)} == set(DATES)
    assert data.task.labels == tuple(DATES)


def test_dates_inside_lists_and_messages_are_texts_too(tmp_path: Path) -> None:
    said = [
        [{"role": "user", "content": day}, {"role": "assistant", "content": day}] for day in DATES
    ]
    rows = [{"messages": each, "options": DATES} for each in said] * 5
    write_jsonl(tmp_path / "chats.jsonl", rows)

    [data] = build(
        tmp_path,
        {
            "name": "when",
            "train": "chats.jsonl",
            "objective": "causal",
            "chat": True,
            "options": "options",
        },
    )

    assert {str(example.label) for example in every_example(data)} == set(DATES)
    assert {example.options for example in every_example(data)} == {tuple(DATES)}


def test_a_row_without_a_date_lacks_it(tmp_path: Path) -> None:
    rows = [{"text": "a b", "label": day} for day in DATES] * 5
    write_jsonl(tmp_path / "data.jsonl", [*rows, {"text": "c"}])

    with pytest.raises(DataError, match=r"data\.jsonl:21: the label is empty"):
        build(tmp_path, {"name": "one", "train": "data.jsonl"})


def test_splits_are_read_from_their_own_files_in_order(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ROWS[:10])
    write_jsonl(tmp_path / "b.jsonl", ROWS[10:20])
    write_jsonl(tmp_path / "c.jsonl", ROWS[20:25])
    write_jsonl(tmp_path / "d.jsonl", ROWS[25:])

    [data] = build(
        tmp_path,
        {
            "name": "one",
            "train": ["a.jsonl", "b.jsonl"],
            "validation": "c.jsonl",
            "test": "d.jsonl",
        },
    )

    assert [texts(examples) for _, examples in data.splits()] == [
        [row["text"] for row in part] for part in (ROWS[:20], ROWS[20:25], ROWS[25:])
    ]


def test_shares_are_cut_from_the_training_rows_in_proportion_to_the_classes(tmp_path: Path) -> None:
    data = build_one(tmp_path, validation=0.2, test=0.1)

    assert [len(examples) for _, examples in data.splits()] == [28, 8, 4]
    assert sorted(texts(every_example(data))) == sorted(row["text"] for row in ROWS)
    assert [Counter(e.label for e in examples) for _, examples in data.splits()] == [
        {0: 7, 1: 21},
        {0: 2, 1: 6},
        {0: 1, 1: 3},
    ]


def test_the_seed_alone_decides_the_cut(tmp_path: Path) -> None:
    first, again, other = (build_one(tmp_path, seed=seed) for seed in (0, 0, 1))

    assert first == again
    assert first.test != other.test


def test_another_share_of_one_split_leaves_the_other_as_it_is(tmp_path: Path) -> None:
    assert build_one(tmp_path, validation=0.1).test == build_one(tmp_path, validation=0.4).test


def test_a_class_of_one_row_stays_in_training(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": str(n)} for n in range(10)]

    for seed in range(5):
        data = build_one(tmp_path, [*rows, *ROWS], seed=seed, validation=0.3, test=0.3)
        assert {example.label for example in data.train} == set(range(12))


def test_a_pair_stays_a_pair(tmp_path: Path) -> None:
    data = build_one(tmp_path, text=["other", "text"])

    pairs = {(row["other"], row["text"]) for row in ROWS}
    assert {example.input for example in every_example(data)} == pairs


def test_label_names_the_column_of_labels(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "mood": row["label"]} for row in ROWS]

    assert build_one(tmp_path, rows, label="mood") == build_one(tmp_path)


def test_labels_order_the_classes(tmp_path: Path) -> None:
    data = build_one(tmp_path, labels=["yes", "no", "maybe"])

    assert data.task.labels == ("yes", "no", "maybe")
    other = {
        example.input: 1 - int(example.label) for example in every_example(build_one(tmp_path))
    }
    assert {example.input: example.label for example in every_example(data)} == other


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 1], ("1", "9", "10")),
        (["10", "9", "1"], ("1", "9", "10")),
        ([True, False, True], ("false", "true")),
        ([1.0, 2.0, 1.0], ("1", "2")),
        (["b", "a", "B"], ("B", "a", "b")),
    ],
)
def test_labels_that_are_not_listed_name_their_own_classes(
    tmp_path: Path, values: list[Any], names: tuple[str, ...]
) -> None:
    rows = [{"text": f"text {n}", "label": values[n % 3]} for n in range(30)]

    assert build_one(tmp_path, rows).task.labels == names


def test_whole_numbers_may_be_indices_of_the_listed_labels(tmp_path: Path) -> None:
    rows = [{**row, "label": ["no", "yes"].index(row["label"])} for row in ROWS]

    assert build_one(tmp_path, rows, labels=["no", "yes"]) == build_one(tmp_path)


def test_whole_numbers_that_are_listed_are_names(tmp_path: Path) -> None:
    rows = [{**row, "label": ["no", "yes"].index(row["label"])} for row in ROWS]

    data = build_one(tmp_path, rows, labels=[1, 0])

    assert {example.input: example.label for example in every_example(data)}["text 1"] == 0


def test_regression_reads_numbers(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": n / 4} for n in range(20)]

    data = build_one(tmp_path, rows, objective="regression")

    assert (data.task.labels, data.task.metric, data.task.outputs) == ((), "spearman", 1)
    assert sorted(example.label for example in every_example(data)) == [n / 4 for n in range(20)]
    write_csv(tmp_path / "data.csv", rows)
    [same] = build(tmp_path, {"name": "one", "train": "data.csv", "objective": "regression"})
    assert same == data


def test_what_concerns_training_is_handed_on(tmp_path: Path) -> None:
    data = build_one(
        tmp_path,
        metric="mcc",
        weight=0.5,
        class_weights=[2, 1],
        max_length=16,
        labels=["no", "yes"],
    )

    task = data.task
    assert (task.metric, task.weight, task.class_weights, task.max_length) == (
        "mcc",
        0.5,
        (2, 1),
        16,
    )
    usual = build_one(tmp_path).task
    assert (usual.metric, usual.weight, usual.class_weights) == ("accuracy", 1.0, None)
    assert usual.max_length is None


def test_balanced_weights_are_inverse_to_the_training_examples(tmp_path: Path) -> None:
    data = build_one(tmp_path, class_weights="balanced")

    counts = Counter(example.label for example in data.train)
    assert data.task.class_weights is not None
    assert [counts[n] * w for n, w in enumerate(data.task.class_weights)] == pytest.approx(
        [len(data.train) / 2] * 2
    )


def test_limit_keeps_training_examples_in_proportion_and_the_other_splits_whole(
    tmp_path: Path,
) -> None:
    whole, limited = build_one(tmp_path), build_one(tmp_path, limit=8)

    assert Counter(example.label for example in limited.train) == {0: 2, 1: 6}
    assert set(limited.train) < set(whole.train)
    assert (limited.validation, limited.test) == (whole.validation, whole.test)


def test_the_seed_decides_what_limit_keeps(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "held.jsonl", ROWS[:4])
    held: dict[str, Any] = {"validation": "held.jsonl", "test": "held.jsonl", "limit": 8}

    first, again, other = (build_one(tmp_path, seed=seed, **held) for seed in (0, 0, 1))

    assert first == again
    assert first.train != other.train


def test_a_task_column_makes_a_task_of_each_value(tmp_path: Path) -> None:
    rows = [{**row, "task": name} for name in ("b", "a") for row in ROWS]
    write_jsonl(tmp_path / "all.jsonl", rows)

    tasks = build(tmp_path, {"train": "all.jsonl", "task_column": "task"})

    assert [data.task.name for data in tasks] == ["a", "b"]
    assert all(len(every_example(data)) == len(ROWS) for data in tasks)


def test_a_named_entry_takes_the_rows_that_bear_its_name(tmp_path: Path) -> None:
    scores = [{"text": f"score {n}", "label": str(n), "task": "sts"} for n in range(20)]
    write_jsonl(tmp_path / "all.jsonl", [*({**row, "task": "mood"} for row in ROWS), *scores])

    mood, sts = build(
        tmp_path,
        "mood",
        {"name": "sts", "objective": "regression"},
        train="all.jsonl",
        task_column="task",
    )

    assert mood.task.labels == ("no", "yes")
    assert sorted(example.label for example in every_example(sts)) == list(range(20))


def shared_file(path: Path, count: int) -> list[str]:
    """Write a file of rows of as many tasks, in turn; return their names."""
    names = [f"task{n:02}" for n in range(count)]
    rows = [
        {**row, "other": str(n % 3), "task": name} for n, row in enumerate(ROWS) for name in names
    ]
    write_jsonl(path, rows)
    return names


def test_names_and_a_column_give_the_same_tasks_of_one_file(tmp_path: Path) -> None:
    names = shared_file(tmp_path / "all.jsonl", 5)
    keys: dict[str, Any] = {"train": "all.jsonl", "task_column": "task"}
    say: dict[str, Any] = {
        "objective": "causal",
        "template": {"prompt": "{text}", "answer": "{other}"},
    }

    for objective in ({}, say):
        named = build(tmp_path, *names, **keys, **objective)
        assert named == build(tmp_path, {}, **keys, **objective)
        assert [data.task.name for data in named] == names
        for data in named:
            assert sorted(texts(every_example(data))) == sorted(row["text"] for row in ROWS)


@pytest.mark.parametrize("objective", ["classification", "causal"])
def test_a_column_is_read_once_however_many_tasks_share_it(
    tmp_path: Path, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get = datasets.Dataset.__getitem__

    def counting(self: Any, key: Any) -> Any:
        asked.extend([key] if isinstance(key, str) else [])
        return get(self, key)

    monkeypatch.setattr(datasets.Dataset, "__getitem__", counting)
    reads = []
    for count in (1, 20):
        names = shared_file(tmp_path / "all.jsonl", count)
        build(tmp_path, *names, train="all.jsonl", task_column="task", objective=objective)
        reads.append(sorted(asked))
        asked.clear()

    assert reads[0] == reads[1] == ["label", "task", "text"]


def test_root_decides_which_files_are_read(tmp_path: Path) -> None:
    for name, rows in (("one", ROWS[:20]), ("two", ROWS[20:])):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "train.jsonl", rows)

    one, two = (
        build(tmp_path / name, {"name": "t", "train": "train.jsonl"}) for name in ("one", "two")
    )

    assert {e.input for e in every_example(one[0])}.isdisjoint(texts(every_example(two[0])))


def test_draw_takes_each_class_to_within_one_of_its_share() -> None:
    classes = ["a"] * 70 + ["b"] * 23 + ["c"] * 7

    for count in (1, 9, 33, 90):
        drawn = Counter(classes[index] for index in draw(classes, count, by_seed(100, 0), spare=0))
        assert drawn.total() == count
        for label, total in Counter(classes).items():
            assert abs(drawn[label] - count * total / 100) < 1


@pytest.mark.skipif(not TEXTBENCH.exists(), reason="needs ../shared, or MTLORA_SHARED, with data")
def test_the_tasks_of_textbench_are_eight_names() -> None:
    names = ["trec", "sst2", "cola", "ag_news", "subjectivity", "creak", "sst5", "paper_field"]

    tasks = build(
        TEXTBENCH,
        *names,
        train="{name}/train.jsonl",
        validation="{name}/val.jsonl",
        test="{name}/test.jsonl",
    )

    described = {t["name"]: t for t in json.loads((TEXTBENCH / "tasks.json").read_text())}
    for data in tasks:
        entry = described[data.task.name]
        assert data.task.outputs == entry["num_classes"]
        assert [len(examples) for _, examples in data.splits()] == [
            entry[key] for key in ("n_train", "n_val", "n_test")
        ]


def test_splits_by_hash_are_the_same_whatever_the_seed_and_the_order(tmp_path: Path) -> None:
    rows = [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(40)]
    splits = []
    for seed, each in ((0, rows), (1, rows), (0, rows[::-1])):
        write_jsonl(tmp_path / "rows.jsonl", each)
        entry = {"name": "t", "train": "rows.jsonl", "test": 0.5, "split_by": "hash", "limit": 10}
        data = build(tmp_path, entry, seed=seed)[0]
        splits.append([{e.input for e in examples} for _, examples in data.splits()])

    assert splits[0] == splits[1] == splits[2]
    assert [len(each) for each in splits[0]] == [10, 4, 20]
    by_seed = build(tmp_path, {**entry, "split_by": "seed"}, seed=0)[0]
    assert {e.input for e in by_seed.test} != splits[0][2]
