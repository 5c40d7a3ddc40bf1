"""Pictures from files: folders, arrays, and columns of paths."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

import mtlora_tasks
from mtlora_core.errors import DataError
from mtlora_core.inputs import ImageBytes, ImageFile, Pixels, decoded
from mtlora_core.sites import BackboneShape
from mtlora_core.tasks import TaskData
from mtlora_core.testing import check_tasks, described
from mtlora_tasks.files.build import build_files
from mtlora_tasks.files.options import FilesOptions

SHARED = Path(os.environ.get("MTLORA_SHARED", Path(__file__).parents[4] / "shared"))
VISION = BackboneShape("vit", 8, (), causal=False, reads="image")
TEXT = BackboneShape("bert", 8, (), causal=False)

Array = NDArray[Any]


def options_of(root: Path, *entries: Any, **defaults: Any) -> FilesOptions:
    return FilesOptions.model_validate(
        {"root": str(root), "defaults": defaults, "entries": list(entries)}
    )


def build_one(root: Path, seed: int = 0, **entry: Any) -> TaskData:
    [data] = build_files(options_of(root, {"name": "one", **entry}), seed=seed)
    return data


def problems_of(root: Path, **entry: Any) -> list[str]:
    """Return what building raises, with paths relative to ``root``."""
    with pytest.raises(DataError) as caught:
        build_one(root, **entry)
    return [line.replace(f"{root}/", "") for line in caught.value.problems]


def picture(path: Path, brightness: int = 0, size: tuple[int, int] = (5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", size, (brightness, 0, 255)).save(path)
    return path


def folders(root: Path, count: int = 10, classes: Sequence[str] = ("cat", "dog")) -> Path:
    """Write a folder of pictures, each of another brightness."""
    for c, name in enumerate(classes):
        for n in range(count):
            picture(root / name / f"{n:02}.png", brightness=100 * c + n)
    return root


def brightness(data: Any) -> list[int]:
    return [example.input.open().getpixel((0, 0))[0] for example in data]


# Folders


def test_a_folder_is_a_task_with_a_class_for_each_sub_folder(tmp_path: Path) -> None:
    folders(tmp_path / "train")

    data = build_one(tmp_path, train="train", validation=0.2, test=0.2)

    assert data.task.labels == ("cat", "dog")
    assert [len(examples) for _, examples in data.splits()] == [12, 4, 4]
    for _, examples in data.splits():
        assert [value >= 100 for value in brightness(examples)] == [e.label == 1 for e in examples]
    first = data.train[0].input
    assert isinstance(first, ImageFile)
    assert first.path.startswith(str(tmp_path / "train" / "cat"))


def test_splits_may_have_folders_of_their_own(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        folders(tmp_path / split, count)

    data = build_one(tmp_path, train="train", validation="val", test="test")

    assert [len(examples) for _, examples in data.splits()] == [10, 4, 6]


def test_pictures_below_a_class_belong_to_it_and_other_files_to_nobody(tmp_path: Path) -> None:
    folders(tmp_path / "a", 4)
    picture(tmp_path / "a" / "cat" / "siam" / "deep.PNG", brightness=99)
    (tmp_path / "a" / "cat" / "notes.txt").write_text("not a picture")
    (tmp_path / "a" / ".cache").mkdir()
    (tmp_path / "a" / "cat" / "._00.png").write_bytes(b"not a picture")

    data = build_one(tmp_path, train="a", validation=0.2, test=0.2)

    everything = [example for _, examples in data.splits() for example in examples]
    assert sorted(brightness(everything)) == [0, 1, 2, 3, 99, 100, 101, 102, 103]
    assert data.task.labels == ("cat", "dog")


def test_labels_give_a_folders_classes_another_order(tmp_path: Path) -> None:
    folders(tmp_path / "a")

    data = build_one(tmp_path, train="a", labels=["dog", "cat"])

    assert [e.label for e in data.train] == [int(v < 100) for v in brightness(data.train)]


def test_damaged_pictures_are_found_when_the_tasks_are_read(tmp_path: Path) -> None:
    folders(tmp_path / "a")
    for name in ("03.png", "07.png"):
        (tmp_path / "a" / "dog" / name).write_bytes(b"damaged")

    assert problems_of(tmp_path, train="a") == [
        "a/dog/03.png: is no picture that can be read: its format is unknown (and 1 more such rows)"
    ]


def test_pictures_that_no_backbone_can_scale_are_found_when_the_tasks_are_read(
    tmp_path: Path,
) -> None:
    folders(tmp_path / "a")
    for name, dtype in (("03", np.float32), ("07", np.int32), ("08", np.uint16)):
        Pillow.fromarray(np.ones((5, 4), dtype)).save(tmp_path / "a" / "dog" / f"{name}.tif")
    reasons: list[str] = []
    for name in ("03", "07"):
        with pytest.raises(DataError) as caught:
            decoded(ImageFile(str(tmp_path / "a" / "dog" / f"{name}.tif")))
        reasons += caught.value.problems

    assert problems_of(tmp_path, train="a") == [r.replace(f"{tmp_path}/", "") for r in reasons]


def test_a_class_that_is_learnt_nowhere_is_told_by_a_picture(tmp_path: Path) -> None:
    folders(tmp_path / "a")
    folders(tmp_path / "b", 3, ("cat", "dgo"))

    assert problems_of(tmp_path, train="a", test="b") == [
        "b/dgo/00.png: label 'dgo' is in no training row of task 'one' (and 2 more such rows)"
    ]


# Arrays


def arrays(path: Path, **changes: Any) -> Path:
    """Write an .npz of twelve grey pictures of three classes, whose first pixel is their number."""
    images = np.zeros((12, 4, 5), np.uint8)
    images[:, 0, 0] = range(12)
    values = {
        "images": images,
        "labels": np.arange(12, dtype=np.int16) % 3,
        "split": np.array([0] * 6 + [1] * 3 + [2] * 3, np.int8),
        "drawers": np.arange(12),
        **changes,
    }
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path


def test_an_npz_holds_all_three_splits(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz")

    data = build_one(tmp_path, train="a.npz")

    assert [brightness(examples) for _, examples in data.splits()] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8],
        [9, 10, 11],
    ]
    assert data.task.labels == ("0", "1", "2")
    assert [e.label for e in data.train] == [0, 1, 2, 0, 1, 2]
    assert data.train[5].input == Pixels(bytes([5] + [0] * 19), 4, 5, 1)


def test_an_npz_without_splits_is_cut_as_other_files_are(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", split=None)

    data = build_one(tmp_path, train="a.npz", validation=0.25, test=0.25)

    assert [len(examples) for _, examples in data.splits()] == [6, 3, 3]
    everything = [example for _, examples in data.splits() for example in examples]
    assert sorted(brightness(everything)) == list(range(12))


def test_no_row_of_an_npz_without_splits_is_in_two(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", split=None)

    data = build_one(tmp_path, train="a.npz")

    assert [len(examples) for _, examples in data.splits()] == [10, 1, 1]
    everything = [example for _, examples in data.splits() for example in examples]
    assert sorted(brightness(everything)) == list(range(12))


def test_a_share_that_is_written_is_cut_from_an_npzs_own_training_rows(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz")

    data = build_one(tmp_path, train="a.npz", validation=0.5)

    assert sorted(brightness([*data.train, *data.validation])) == [0, 1, 2, 3, 4, 5]
    assert len(data.validation) == 3
    assert brightness(data.test) == [9, 10, 11]


def test_a_split_that_an_npz_lacks_is_a_share(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", split=np.array([0] * 9 + [2] * 3))

    data = build_one(tmp_path, train="a.npz", validation=None)

    assert len(data.validation) == 1
    assert brightness(data.test) == [9, 10, 11]


def test_each_split_may_have_an_npz_of_its_own(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", split=None)
    arrays(tmp_path / "b.npz")

    data = build_one(tmp_path, train="a.npz", validation="b.npz", test="a.npz")

    assert [brightness(examples) for _, examples in data.splits()] == [
        list(range(12)),
        [6, 7, 8],
        list(range(12)),
    ]


@pytest.mark.parametrize(("channels", "shape"), [(1, (12, 4, 5, 1)), (3, (12, 4, 5, 3))])
def test_pictures_of_an_npz_may_have_channels(
    tmp_path: Path, channels: int, shape: tuple[int, ...]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    arrays(tmp_path / "a.npz", images=images)

    data = build_one(tmp_path, train="a.npz")

    first = data.train[0].input
    assert isinstance(first, Pixels)
    assert first.channels == channels
    assert np.array_equal(np.asarray(first.open())[..., :channels], images[0])


@pytest.mark.parametrize(
    ("labels", "names"), [(["a", "b", "c"] * 4, None), ([0, 1, 2] * 4, ["a", "b", "c"])]
)
def test_labels_of_an_npz_are_names_or_indices(
    tmp_path: Path, labels: list[Any], names: list[str] | None
) -> None:
    arrays(tmp_path / "a.npz", labels=np.array(labels))

    data = build_one(tmp_path, train="a.npz", labels=names)

    assert data.task.labels == ("a", "b", "c")
    assert [e.label for e in data.train] == [0, 1, 2, 0, 1, 2]


def test_numbers_of_an_npz_may_be_predicted(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", labels=np.linspace(0, 1, 12))

    data = build_one(tmp_path, train="a.npz", objective="regression")

    assert [e.label for e in data.test] == pytest.approx([9 / 11, 10 / 11, 1])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": None}, "has no array 'images'; its arrays are labels, split, drawers"),
        ({"images": np.zeros((12, 4, 5))}, "images are float64 of the shape [12, 4, 5]; they"),
        ({"images": np.zeros((12, 3, 4, 5), np.uint8)}, "N x H x W x 3 in colour"),
        ({"images": np.zeros((12, 4), np.uint8)}, "uint8, N x H x W"),
        ({"images": np.zeros((0, 4, 5), np.uint8)}, "has no rows"),
        ({"labels": np.zeros(11, int)}, "labels have the shape [11]; they should be 12"),
        ({"labels": np.zeros((12, 2), int)}, "labels have the shape [12, 2]"),
        ({"labels": np.zeros(12, "datetime64[s]")}, "labels are datetime64[s]; they should be"),
        ({"split": np.zeros(3, int)}, "split has the shape [3]; it should be 12"),
        ({"split": np.arange(12)}, "0 for training, 1 for validation and 2 for test"),
        ({"split": np.zeros(12)}, "0 for training, 1 for validation and 2 for test"),
        ({"split": np.ones(12, int)}, "the train files have no rows"),
    ],
)
def test_arrays_that_are_not_as_they_should_be_are_told(
    tmp_path: Path, changes: dict[str, Array | None], expected: str
) -> None:
    arrays(tmp_path / "a.npz", **changes)

    found = problems_of(tmp_path, train="a.npz")

    assert any(expected in problem for problem in found), found


def test_nothing_of_an_npz_is_unpickled(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", labels=np.array([{"a": 1}] * 12, dtype=object))

    [problem] = problems_of(tmp_path, train="a.npz")

    assert problem.startswith("a.npz: is no .npz file that can be read: ")
    assert "allow_pickle=False" in problem


def one_array() -> bytes:
    buffer = BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 and no more", one_array()])
def test_an_npz_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)

    [problem] = problems_of(tmp_path, train="a.npz")

    assert problem.startswith("a.npz: is no .npz file that can be read")


def test_a_label_of_an_npz_that_is_learnt_nowhere_is_told_by_its_row(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", labels=np.array([0, 1] * 4 + [0, 1, 7, 0]))

    assert problems_of(tmp_path, train="a.npz") == [
        "a.npz: row 11: label '7' is in no training row of task 'one'"
    ]


def test_the_alphabets_of_omniglot_are_read_as_they_are_described() -> None:
    folder = SHARED / "data" / "omniglot"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")

    options = options_of(folder, "greek", train="{name}.npz")
    [data] = build_files(options, seed=0)

    assert len(data.task.labels) == 24
    # 20 people drew each character: 14 to train on, 2 to choose by, 4 to score by.
    assert [len(rows) for _, rows in data.splits()] == [24 * 14, 24 * 2, 24 * 4]


# Columns


def listed(root: Path, **column: Any) -> Path:
    """Write a file of rows with the paths of pictures."""
    rows = [
        {"picture": f"img/{n}.png", "label": "ab"[n % 2], "task": "xy"[n // 10], **column}
        for n in range(20)
    ]
    for n in range(20):
        picture(root / "img" / f"{n}.png", brightness=n)
    file = root / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_column_of_paths_is_relative_to_its_file(tmp_path: Path) -> None:
    listed(tmp_path / "deep")

    data = build_one(tmp_path, train="deep/rows.jsonl", image="picture")

    assert [value % 2 for value in brightness(data.train)] == [e.label for e in data.train]
    assert len(data.train) == 16


def test_one_file_of_pictures_may_hold_several_tasks(tmp_path: Path) -> None:
    listed(tmp_path)

    options = options_of(
        tmp_path, {"train": "rows.jsonl", "image": "picture", "task_column": "task"}
    )

    assert [data.task.name for data in build_files(options, seed=0)] == ["x", "y"]


def test_pictures_may_be_kept_inside_a_parquet_file(tmp_path: Path) -> None:
    buffer = BytesIO()
    Pillow.new("RGB", (3, 3), (7, 0, 0)).save(buffer, "PNG")
    rows = [
        {"image": {"bytes": buffer.getvalue(), "path": None}, "label": n % 2} for n in range(20)
    ]
    for name, features in (
        ("plain", None),
        ("typed", datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})),
    ):
        datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / f"{name}.parquet")

        data = build_one(tmp_path, train=f"{name}.parquet", image="image")

        assert isinstance(data.train[0].input, ImageBytes)
        assert set(brightness(data.train)) == {7}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "column 'picture' has no picture"),
        ("", "column 'picture' has no picture"),
        ("img/gone.png", "column 'picture' has 'img/gone.png', which is not there"),
        ("rows.jsonl", "has 'rows.jsonl', which is no picture that can be read: its format is unk"),
    ],
)
def test_a_picture_that_is_missing_is_told_by_its_line(
    tmp_path: Path, value: str | None, expected: str
) -> None:
    file = listed(tmp_path)
    with file.open("a") as stream:
        stream.write(json.dumps({"picture": value, "label": "a", "task": "x"}) + "\n")

    [problem] = problems_of(tmp_path, train="rows.jsonl", image="picture")

    assert problem.startswith("rows.jsonl:21: ")
    assert expected in problem


def test_a_column_of_numbers_is_no_column_of_pictures(tmp_path: Path) -> None:
    listed(tmp_path, number=3)

    [problem] = problems_of(tmp_path, train="rows.jsonl", image="number")

    assert problem.startswith("rows.jsonl:1: column 'number' has 3, which is neither a path nor")


# What is told before anything is read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folders(tmp_path / "photos", 2)
    arrays(tmp_path / "a.npz")
    listed(tmp_path)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "flat").mkdir()
    picture(tmp_path / "flat" / "a.png")
    return tmp_path


@pytest.mark.parametrize(
    ("entry", "place", "advice"),
    [
        ({"train": "flat"}, "train", "or a folder with a sub-folder of pictures for each class"),
        ({"train": "empty"}, "train", "empty/cat holds no pictures; known are .bmp"),
        ({"train": "photos", "test": "rows.jsonl"}, "test", "holds texts, other files pictures"),
        ({"train": "photos", "task_column": "t"}, "task_column", "has no columns; leave it out"),
        ({"train": "rows.jsonl", "image": "picture", "text": "label"}, "image", "leave `text` or"),
        ({"train": "rows.jsonl", "image": "picture", "objective": "causal"}, "image", "reads text"),
    ],
)
def test_keys_that_cannot_work_are_told_without_reading_data(
    root: Path, entry: dict[str, Any], place: str, advice: str
) -> None:
    found = options_of(root, {"name": "one", **entry}).faults()

    assert [where for where, _ in found] == [f"entries.0.{place}"]
    assert advice in found[0][1]


PICTURES: list[dict[str, Any]] = [
    {"train": "photos"},
    {"train": "a.npz"},
    {"train": "rows.jsonl", "image": "picture"},
]


@pytest.mark.parametrize("entry", PICTURES)
def test_pictures_want_a_backbone_that_reads_them(root: Path, entry: dict[str, Any]) -> None:
    options = options_of(root, {"name": "one", **entry})
    key = "image" if "image" in entry else "text"

    assert [*options.problems(VISION, ())] == []
    [(place, reason)] = options.problems(TEXT, ())

    assert place == f"entries.0.{key}"
    assert reason.startswith("the task is of pictures, and bert reads texts")


def test_texts_want_a_backbone_that_reads_them(root: Path) -> None:
    options = options_of(root, {"name": "one", "train": "rows.jsonl"})

    assert [*options.problems(TEXT, ())] == []
    [(place, reason)] = options.problems(VISION, ())

    assert place == "entries.0.text"
    assert reason.startswith("the task is of texts, and vit reads pictures; name the column of")


def test_a_picture_is_not_cut_to_a_length(root: Path) -> None:
    options = options_of(root, "a", train="{name}.npz", max_length=8)

    assert [*options.problems(VISION, ())] == [
        ("defaults.max_length", "a picture has no tokens to leave out; leave it out")
    ]


def test_files_of_pictures_that_are_missing_are_told_once(root: Path) -> None:
    options = options_of(root, {"name": "one", "train": "b.npz"})

    [(place, reason)] = options.problems(TEXT, ())

    assert place == "entries.0.train"
    assert "did you mean 'a.npz'?" in reason


@pytest.mark.parametrize("entry", PICTURES)
def test_tasks_of_pictures_keep_the_contract(root: Path, entry: dict[str, Any]) -> None:
    check_tasks(
        described(mtlora_tasks, "tasks", "files"),
        {
            "root": str(root),
            "entries": [{"name": "one", "validation": 0.25, "test": 0.25, **entry}],
        },
    )


def test_resolved_options_mean_the_same_when_read_again(root: Path) -> None:
    options = options_of(root, *({"name": f"t{n}", **e} for n, e in enumerate(PICTURES)))

    again = FilesOptions.model_validate(options.model_dump(mode="json"))

    assert again == options
    assert again.faults() == []
