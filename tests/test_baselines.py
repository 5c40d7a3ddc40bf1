from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from mtlora_core.context import Contexts
from mtlora_core.inputs import Input, texts_of
from mtlora_core.interfaces import Backbone, Encoded, Inputs
from mtlora_core.tasks import SPLITS, Example, Task, TaskData
from mtlora_core.train import baselines as module
from mtlora_core.train.baselines import (
    HEADS_GRID,
    Features,
    baselines,
    cache_folder,
    cached,
    frozen_features,
    heads_only,
    majority,
    tfidf,
)

Array = NDArray[Any]
CPU = torch.device("cpu")
WORDS = {0: "bread soup apple rice", 1: "hammer nail drill saw"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_examples(count: int, seed: int) -> list[Example]:
    """Sentences about food or tools: one telling word in three."""
    draw = random.Random(seed)
    return [
        Example(f"the {draw.choice(WORDS[label].split())} {draw.randrange(100)}", label)
        for label in (i % 2 for i in range(count))
    ]


def make_data(**changes: Any) -> TaskData:
    task = Task("goods", labels=("food", "tools"))
    splits = {split: make_examples(40, seed) for seed, split in enumerate(SPLITS)}
    return replace(TaskData(task, **splits), **changes)


def make_regression() -> TaskData:
    task = Task("sizes", objective="regression", metric="spearman")
    splits = {
        split: [Example("big " * (i % 5) + "small " * (4 - i % 5), float(i % 5)) for i in range(30)]
        for split in SPLITS
    }
    return TaskData(task, **splits)


def make_features(data: TaskData) -> Features:
    """Return features that tell the label apart amid noise."""
    draw = np.random.default_rng(0)
    return {
        split: draw.normal(size=(len(rows), 8)) + np.array([[float(r.label)] for r in rows])
        for split, rows in data.splits()
    }


class Bag(Backbone):
    """A backbone whose feature of a text is the mean embedding of its bytes."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.module = nn.Embedding(256, width, _weight=torch.randn(256, width))
        self.width = width
        self.batches: list[list[int]] = []

    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        kept = [
            list("|".join(text if isinstance(text, tuple) else (text,)).encode())
            for text in texts_of(inputs)
        ]
        return [Encoded({"ids": ids[:max_length]}, len(ids[:max_length])) for ids in kept]

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        self.batches.append([row.length for row in rows])
        longest = max(row.length for row in rows)
        ids = torch.tensor([[*row.features["ids"], *[0] * (longest - row.length)] for row in rows])
        return Inputs({"ids": ids}, ids > 0)

    def forward(self, inputs: Inputs) -> Tensor:
        hidden: Tensor = self.module(inputs.tensors["ids"])
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def checkpoint(self, context_fn: Callable[[], Contexts]) -> None:
        raise NotImplementedError


@pytest.fixture
def backbone() -> Bag:
    torch.manual_seed(0)
    return Bag()


# The three columns.


def test_majority_answers_the_most_frequent_class_of_train() -> None:
    train = [Example("x", 1)] * 3 + [Example("x", 0)] * 2
    test = [Example("x", 0)] * 3 + [Example("x", 1)]

    assert majority(make_data(train=train, test=test)) == 0.25


def test_majority_of_regression_is_the_mean_of_train() -> None:
    data = make_regression()
    data = replace(data, task=replace(data.task, metric="mse"), test=[Example("x", 5.0)])

    assert majority(data) == pytest.approx(-((5 - 2) ** 2))


def test_words_that_tell_the_classes_apart_are_enough_for_tfidf() -> None:
    assert tfidf(make_data()).score == 1


def test_tfidf_sees_pairs_of_words() -> None:
    rows = [Example("good not bad", 1), Example("bad not good", 0)] * 10

    assert tfidf(make_data(train=rows, validation=rows, test=rows)).score == 1


def test_tfidf_sees_which_text_of_a_pair_ends_or_begins_with_a_word() -> None:
    rows = [Example(("cat dog", "cat dog"), 1), Example(("cat", "dog cat dog"), 0)] * 10

    assert tfidf(make_data(train=rows, validation=rows, test=rows)).score == 1


def test_tfidf_of_numbers_is_a_ridge_regression() -> None:
    assert tfidf(make_regression()).score == pytest.approx(1)


def test_texts_without_a_word_leave_tfidf_with_the_majority() -> None:
    blank = [Example("!", 0)] * 3 + [Example("", 1)]

    assert tfidf(make_data(train=blank, validation=blank, test=blank)).score == 0.75


def test_heads_reach_what_the_features_hold() -> None:
    data = make_data()

    assert heads_only(data, make_features(data)).score > 0.9
    assert heads_only(make_regression(), make_features(make_regression())).score > 0.9


def test_heads_do_not_depend_on_the_scale_of_the_features() -> None:
    data = make_data()
    features = make_features(data)
    scaled = {split: rows * 1e-3 + 7 for split, rows in features.items()}

    assert heads_only(data, scaled) == heads_only(data, features)


def test_the_fit_of_the_heads_has_converged() -> None:
    data = make_data()
    features = make_features(data)
    x, labels = features["train"], np.array([example.label for example in data.train])

    gradients = []
    for c, model in module._logistic_path(data.task, x, labels, HEADS_GRID):
        weight, bias = model.coef_[0], model.intercept_[0]  # type: ignore[attr-defined]
        error = 1 / (1 + np.exp(-(x @ weight + bias))) - labels
        gradients.append(np.abs((x.T @ error + weight / c) / len(x)).max())
        gradients.append(abs(error.mean()))

    assert len(gradients) == 2 * len(HEADS_GRID)
    assert max(gradients) < 2e-6


def test_one_class_alone_is_answered_without_a_fit() -> None:
    data = make_data(train=[Example("bread", 0)] * 4)

    assert tfidf(data).score == 0.5


def test_class_weights_reach_the_fits() -> None:
    rare = [Example("same", 0)] * 8 + [Example("same", 1)] * 2
    data = make_data(train=rare, validation=rare, test=[Example("same", 1)])
    weighted = replace(data, task=replace(data.task, class_weights=(1.0, 10.0)))

    assert tfidf(data).score == 0
    assert tfidf(weighted).score == 1


# Selection.


def test_regularization_is_chosen_on_validation_where_train_would_choose_otherwise() -> None:
    data = make_data()
    draw = np.random.default_rng(0)  # a weak signal in noise that train can be told apart by
    features: Features = {
        split: draw.normal(size=(len(rows), 60)) + 0.3 * np.array([[float(r.label)] for r in rows])
        for split, rows in data.splits()
    }
    scaler = StandardScaler().fit(features["train"])
    x, y = ({s: scaler.transform(f) for s, f in features.items()}, [e.label for e in data.train])
    right = {
        c: np.sum(
            LogisticRegression(C=c, tol=1e-6, max_iter=10_000)
            .fit(x["train"], y)
            .predict(x["validation"])
            == [e.label for e in data.validation]
        )
        for c in HEADS_GRID
    }

    chosen = heads_only(data, features).c
    on_train = heads_only(
        replace(data, validation=data.train), {**features, "validation": features["train"]}
    ).c

    assert chosen == max(right, key=lambda c: right[c])
    assert chosen != on_train


def test_shuffled_test_labels_change_the_score_but_not_the_choice() -> None:
    data = make_data()
    rows = [replace(example, label=1 - int(example.label)) for example in data.test]
    flipped = replace(data, test=rows)
    features = make_features(data)

    assert heads_only(flipped, features).c == heads_only(data, features).c
    assert tfidf(flipped).c == tfidf(data).c
    assert tfidf(flipped).score == 0


def test_another_metric_may_choose_another_regularization() -> None:
    draw = np.random.default_rng(3)
    rows = [Example("x", int(i % 10 == 0)) for i in range(200)]
    data = make_data(train=rows, validation=rows[:60], test=rows)
    features: Features = {
        split: draw.normal(size=(len(each), 10)) + 0.5 * np.array([[float(r.label)] for r in each])
        for split, each in data.splits()
    }
    by_f1 = replace(data, task=replace(data.task, metric="macro-f1"))

    assert heads_only(data, features).c != heads_only(by_f1, features).c


# Features.


def test_features_are_those_of_each_example_run_alone(backbone: Bag) -> None:
    data = make_data()

    features = frozen_features(backbone, [data], CPU, batch_size=7)["goods"]

    for split, examples in data.splits():
        alone = [backbone.features(backbone.collate(backbone.encode([e.input]))) for e in examples]
        np.testing.assert_allclose(features[split], torch.cat(alone).detach(), atol=1e-6)
        assert features[split].dtype == np.float32


def test_features_that_memory_has_no_room_for_are_made_in_halves(
    backbone: Bag, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, own = make_data(), backbone.features
    whole = frozen_features(backbone, [data], CPU)["goods"]

    def small(inputs: Inputs) -> torch.Tensor:
        if len(inputs.mask) > 3:
            raise torch.OutOfMemoryError
        return own(inputs)

    monkeypatch.setattr(backbone, "features", small)
    halved = frozen_features(backbone, [data], CPU)["goods"]

    for split, features in whole.items():
        np.testing.assert_allclose(halved[split], features, atol=1e-6)


def test_inputs_run_once_in_batches_of_similar_length(backbone: Bag) -> None:
    data = make_data()
    twin = replace(data, task=replace(data.task, name="twin"))

    features = frozen_features(backbone, [data, twin], CPU, batch_size=8)

    distinct = {example.input for _, rows in data.splits() for example in rows}
    lengths = [length for batch in backbone.batches for length in batch]
    assert len(lengths) == len(distinct)
    assert lengths == sorted(lengths)
    np.testing.assert_array_equal(features["goods"]["test"], features["twin"]["test"])


def test_a_tasks_own_length_cuts_its_inputs(backbone: Bag) -> None:
    data = make_data()
    short = replace(data, task=replace(data.task, name="short", max_length=3))

    features = frozen_features(backbone, [data, short], CPU)

    assert max(max(batch) for batch in backbone.batches) > 3
    assert len(np.unique(features["short"]["train"], axis=0)) == 1  # all begin with "the"


# The cache.


def test_arrays_are_computed_once_and_come_back_the_same(cache: Path) -> None:
    values: dict[str, Array] = {"a/b": np.arange(6.0).reshape(2, 3), "c": np.zeros(1, np.float32)}

    first = cached("key", lambda: values)
    second = cached("key", lambda: pytest.fail("computed twice"))

    assert first.keys() == second.keys() == values.keys()
    np.testing.assert_array_equal(second["a/b"], values["a/b"])
    assert [path.name for path in cache.iterdir()] == ["key.safetensors"]


@pytest.mark.parametrize("damage", ["empty", "foreign", "truncated", "one bit"])
def test_a_damaged_file_is_computed_again(cache: Path, damage: str) -> None:
    cached("key", lambda: {"a": np.ones(100)})
    path = cache / "key.safetensors"
    whole = path.read_bytes()
    broken = {
        "empty": b"",
        "foreign": b"not a safetensors file",
        "truncated": whole[:-50],
        "one bit": whole[:-1] + bytes([whole[-1] ^ 1]),
    }
    path.write_bytes(broken[damage])

    again = cached("key", lambda: {"a": np.zeros(100)})

    assert again["a"].sum() == 0
    assert cached("key", lambda: pytest.fail("computed twice"))["a"].sum() == 0


def test_a_cache_that_cannot_be_written_keeps_nothing(cache: Path) -> None:
    cache.write_text("a file where the folder should be")

    assert cached("key", lambda: {"a": np.ones(1)})["a"] == 1


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTLORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert cache_folder() == Path("/var/caches/mtlora")

    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "mtlora"


def test_all_columns_of_all_tasks_are_computed_once(backbone: Bag) -> None:
    data = [make_data(), make_regression()]

    first = baselines(backbone, "key", data, CPU)
    batches = len(backbone.batches)
    second = baselines(backbone, "key", data, CPU)

    assert first == second
    assert list(first) == list(second) == ["goods", "sizes"]
    assert first["goods"].majority == 0.5
    assert first["goods"].tfidf == 1
    features = frozen_features(backbone, data, CPU)
    assert first["goods"].heads == heads_only(data[0], features["goods"]).score
    assert batches * 2 == len(backbone.batches)  # of the first time, and of the line above


@pytest.mark.parametrize("change", ["data", "task", "backbone"])
def test_other_data_or_another_backbone_is_computed_anew(backbone: Bag, change: str) -> None:
    data = make_data()
    baselines(backbone, "key", [data], CPU)
    backbone.batches.clear()

    if change == "data":
        data = replace(data, test=data.test[:-1])
    if change == "task":
        data = replace(data, task=replace(data.task, metric="mcc"))
    baselines(backbone, "other" if change == "backbone" else "key", [data], CPU)

    assert backbone.batches
