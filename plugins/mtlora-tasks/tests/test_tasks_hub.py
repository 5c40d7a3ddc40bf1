"""Tasks from datasets by name; no test reaches for the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image as Pillow
from pydantic import ValidationError

import mtlora_tasks
from mtlora_core.errors import DataError
from mtlora_core.options import RecipeText
from mtlora_core.sites import BackboneShape
from mtlora_core.tasks import TaskData
from mtlora_core.testing import check_tasks, described
from mtlora_tasks.hub.build import build_hub
from mtlora_tasks.hub.options import HubOptions

ROWS = [{"text": f"text {n}", "label": "yes" if n % 4 else "no"} for n in range(40)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what ``datasets`` makes of a folder out of the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def options_of(*entries: Any, **defaults: Any) -> HubOptions:
    return HubOptions.model_validate({"defaults": defaults, "entries": list(entries)})


def build_one(seed: int = 0, **entry: Any) -> TaskData:
    [data] = build_hub(options_of({"name": "one", **entry}), seed=seed)
    return data


def problems_of(*entries: Any, **defaults: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        build_hub(options_of(*entries, **defaults), seed=0)
    return list(caught.value.problems)


def local(folder: Path, **splits: int) -> Path:
    """Write a dataset with as many rows a split as are given."""
    folder.mkdir()
    for split, count in splits.items():
        lines = [json.dumps({**row, "split": split}) for row in ROWS[:count]]
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


class Hub:
    """Stands for the hub: datasets by path and config, and what was asked for."""

    def __init__(self, **known: Mapping[str, datasets.Dataset]) -> None:
        self.known = known
        self.asked: list[tuple[str, str | None, str | None]] = []

    def load_dataset(
        self, path: str, name: str | None = None, *, revision: str | None = None
    ) -> Mapping[str, datasets.Dataset]:
        """Answer as ``datasets`` does; it takes no leave to run code."""
        self.asked.append((path, name, revision))
        return self.known[path.replace("/", "_")]


def table(count: int, **changes: Any) -> datasets.Dataset:
    """Return a table whose labels are of named classes."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = [{"text": row["text"], "label": int(row["label"] == "yes"), **changes} for row in ROWS]
    return datasets.Dataset.from_list(rows[:count], features=features)


def served(monkeypatch: pytest.MonkeyPatch, **known: Mapping[str, datasets.Dataset]) -> Hub:
    hub = Hub(**known)
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    return hub


def test_a_folder_that_datasets_can_read_is_a_task(tmp_path: Path) -> None:
    folder = local(tmp_path / "own", train=20, validation=8, test=12)

    data = build_one(path=str(folder))

    assert data.task.labels == ("no", "yes")
    assert [len(rows) for _, rows in data.splits()] == [20, 8, 12]
    assert data.train[0].input == "text 0"


def test_keeps_the_contract_of_tasks(tmp_path: Path) -> None:
    folder = local(tmp_path / "own", train=40)

    check_tasks(
        described(mtlora_tasks, "tasks", "hub"),
        {"entries": [{"name": "one", "path": str(folder)}]},
    )


def test_splits_that_a_dataset_lacks_are_shares_of_the_training_rows(tmp_path: Path) -> None:
    folder = local(tmp_path / "own", train=40)

    data = build_one(path=str(folder), test=0.25)

    assert [len(rows) for _, rows in data.splits()] == [26, 4, 10]


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_split_to_choose_by_has_one_of_its_usual_names(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    served(monkeypatch, org_data={"train": table(20), name: table(8), "test": table(4)})

    data = build_one(path="org/data")

    assert [len(rows) for _, rows in data.splits()] == [20, 8, 4]


def test_of_two_splits_with_a_usual_name_the_more_usual_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served(monkeypatch, org_data={"train": table(20), "dev": table(8), "validation": table(4)})

    assert len(build_one(path="org/data").validation) == 4


def test_splits_may_be_named_joined_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": table(20), "unlabelled": table(4), "extra": table(12), "test": table(4)}
    served(monkeypatch, org_data=splits)

    data = build_one(path="org/data", train=["train", "extra"], validation=0.25, test="extra")

    assert [len(rows) for _, rows in data.splits()] == [24, 8, 12]


def test_path_config_and_revision_say_which_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = served(monkeypatch, org_glue={"train": table(20)}, org_cola={"train": table(20)})

    build_hub(
        options_of(
            "cola",
            {"name": "sst2", "revision": "abc"},
            {"name": "other", "path": "org/cola", "config": None},
            path="org/glue",
            config="{name}",
        ),
        seed=0,
    )

    assert hub.asked == [
        ("org/glue", "cola", None),
        ("org/glue", "sst2", "abc"),
        ("org/cola", None, None),
    ]


def test_entries_that_share_a_dataset_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = served(monkeypatch, org_data={"train": table(20)})

    build_hub(options_of("a", "b", path="org/data"), seed=0)

    assert len(hub.asked) == 1


def test_entries_that_share_a_split_read_its_columns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    get = datasets.Dataset.__getitem__

    def counting(self: Any, key: Any) -> Any:
        asked.extend([key] if isinstance(key, str) else [])
        return get(self, key)

    served(monkeypatch, org_data={"train": table(20)}, org_other={"train": table(20)})
    monkeypatch.setattr(datasets.Dataset, "__getitem__", counting)

    build_hub(options_of("a", "b", {"name": "c", "path": "org/other"}, path="org/data"), seed=0)

    assert sorted(asked) == ["label", "label", "text", "text"]


def test_classes_have_the_names_and_the_order_of_the_dataset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["yes", "no"])}
    )
    rows = [{"text": f"text {n}", "label": n % 2} for n in range(20)]
    served(monkeypatch, org_data={"train": datasets.Dataset.from_list(rows, features=features)})

    data = build_one(path="org/data")

    assert data.task.labels == ("yes", "no")
    assert all(int(str(e.input).split()[1]) % 2 == e.label for e in data.train)
    assert build_one(path="org/data", labels=["no", "yes"]).task.labels == ("no", "yes")


def test_rows_without_a_label_are_told_and_not_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch, org_data={"train": table(20), "test": table(5, label=-1)})

    assert problems_of({"name": "one", "path": "org/data"}) == [
        "org/data, test: row 1: label '-1' is none of `labels`; they are no, yes (and 4 more such "
        "rows)"
    ]


def test_limit_and_seed_choose_rows_as_they_do_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch, org_data={"train": table(40), "validation": table(8), "test": table(8)})

    one, again, other = (build_one(seed, path="org/data", limit=12) for seed in (0, 0, 1))

    assert len(one.train) == 12
    assert one == again
    assert one.train != other.train


def test_pictures_of_a_dataset_are_read_when_they_are_wanted(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for c, name in enumerate(("cat", "dog")):
            (tmp_path / "own" / split / name).mkdir(parents=True)
            for n in range(5):
                picture = Pillow.new("RGB", (4, 3), (100 * c + n, 0, 0))
                picture.save(tmp_path / "own" / split / name / f"{n}.png")

    data = build_one(path=str(tmp_path / "own"), image="image", validation=0.2)

    assert data.task.labels == ("cat", "dog")
    assert [len(rows) for _, rows in data.splits()] == [8, 2, 10]
    for example in data.test:
        given: Any = example.input
        assert (given.open().getpixel((0, 0))[0] >= 100) == (example.label == 1)


def test_causal_tasks_are_read_as_from_files(tmp_path: Path) -> None:
    folder = local(tmp_path / "own", train=40)

    data = build_one(
        path=str(folder),
        objective="causal",
        template={"prompt": "{text}?", "answer": " {label}"},
    )

    assert data.task.labels == (" no", " yes")
    assert {str(e.input)[-1] for e in data.train} == {"?"}


# What cannot be


def test_offline_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    [problem] = problems_of({"name": "one", "path": "org/none"})

    assert problem == (
        f"org/none: is not in the cache {cache}, and HF_HUB_OFFLINE is set; run once without it, "
        "or copy that folder from a machine that has the dataset"
    )


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)

    [problem] = problems_of({"name": "one", "path": "org/none", "config": "c", "revision": "r"})

    assert problem.startswith("org/none, c, r: is not in the cache")
    assert problem.endswith("cannot be reached")


def test_a_part_that_a_dataset_has_not_is_told(tmp_path: Path) -> None:
    folder = local(tmp_path / "own", train=20)

    assert problems_of({"name": "one", "path": str(folder), "config": "cola"}) == [
        f"{folder}, cola: cannot be loaded: BuilderConfig 'cola' not found. Available: ['default']"
    ]


def test_splits_and_columns_that_are_missing_are_told_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served(monkeypatch, org_data={"train": table(20), "test": table(8)})

    assert problems_of(
        {"name": "one", "train": "trian"}, {"name": "two", "text": "txt"}, path="org/data"
    ) == [
        "org/data: has no split 'trian'; its splits are train, test",
        "org/data, train: has no column 'txt'; did you mean 'text'? the columns are text, label",
        "org/data, test: has no column 'txt'; did you mean 'text'? the columns are text, label",
    ]


@pytest.mark.parametrize(
    ("entry", "place", "advice"),
    [
        ({"name": "one"}, "path", "no dataset is named; write its name on the hub"),
        ({"name": "one", "path": "/nowhere/at/all"}, "path", "there is no /nowhere"),
        ({"path": "org/{name}", "task_column": "t"}, "path", "this entry has none"),
        ({"path": "a/b", "config": "{name}", "task_column": "t"}, "config", "this entry has none"),
        ({"name": "one", "path": "a/b", "metric": "mse"}, "metric", "accuracy or macro-f1"),
        ({"name": "one", "path": "a/b", "train": []}, "train", "no training rows are named"),
    ],
)
def test_keys_that_cannot_work_are_told_without_the_dataset(
    entry: dict[str, Any], place: str, advice: str
) -> None:
    [(where, reason)] = options_of(entry).faults()

    assert where == f"entries.0.{place}"
    assert advice in reason


@pytest.mark.parametrize("key", ["field", "root", "trust_remote_code"])
def test_keys_of_files_and_leave_to_run_code_are_no_keys(key: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        options_of({"name": "one", "path": "a/b", key: True})


def test_a_task_of_pictures_wants_a_backbone_that_reads_them() -> None:
    text, vision = BackboneShape("bert", 8, (), False), BackboneShape("vit", 8, (), False, "image")
    texts, pictures = options_of("a", path="a/b"), options_of("a", path="a/b", image="img")

    assert [*texts.problems(text, ())] == [*pictures.problems(vision, ())] == []
    assert [place for place, _ in texts.problems(vision, ())] == ["entries.0.text"]
    assert [place for place, _ in pictures.problems(text, ())] == ["defaults.image"]


def test_a_folder_is_relative_to_the_recipes_file(tmp_path: Path) -> None:
    written = {"name": "one", "path": RecipeText("./own", tmp_path)}

    assert options_of(written).entries[0].path == str(tmp_path / "own")
    assert options_of({"name": "one", "path": "org/own"}).entries[0].path == "org/own"


def test_resolved_options_mean_the_same_when_read_again() -> None:
    options = options_of("a", {"name": "b", "test": 0.2}, path="org/{name}", config="c")

    assert HubOptions.model_validate(options.model_dump(mode="json")) == options
