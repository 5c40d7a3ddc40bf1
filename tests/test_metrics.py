from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, mean_squared_error

from mtlora_core.tasks import Metric, Task
from mtlora_core.train.metrics import interval, primary, score

Array = NDArray[Any]
ANSWERS = st.integers(0, 3)


def classes(metric: Metric = "accuracy", count: int = 4) -> Task:
    return Task("classes", labels=tuple("abcdefgh"[:count]), metric=metric)


def numbers(metric: Metric = "spearman") -> Task:
    return Task("numbers", objective="regression", metric=metric)


def answers(task: Task, count: int = 200, seed: int = 0) -> tuple[Array, Array]:
    """Return labels, and predictions that are right for about two examples in three."""
    draw = np.random.default_rng(seed)
    if task.objective == "regression":
        labels = draw.normal(size=count)
        return labels, labels + draw.normal(size=count)
    labels, other = draw.integers(0, task.outputs, (2, count))
    return labels, np.where(draw.random(count) < 0.6, labels, other)


def test_scores_by_hand() -> None:
    labels, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])

    scores = score(classes(count=2), predictions, labels)

    # Of class 0: precision 1, recall 2/3; of class 1: precision 1/2, recall 1.
    assert scores["accuracy"] == 0.75
    assert scores["macro-f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert scores["mcc"] == pytest.approx((2 * 1 - 0 * 1) / math.sqrt(2 * 2 * 3 * 1))


def test_scores_of_regression_by_hand() -> None:
    scores = score(numbers(), np.array([1.0, 4.0, 2.0]), np.array([1.0, 2.0, 3.0]))

    # Ranks 1 3 2 against 1 2 3: 1 - 6 (0 + 1 + 1) / (3 * 8).
    assert scores == pytest.approx({"spearman": 0.5, "mse": 5 / 3})


@given(st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=30))
def test_classification_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    assume(len({*labels, *predictions}) > 1)  # it warns of one class alone

    scores = score(classes(), predictions, labels)

    f1 = f1_score(labels, predictions, average="macro", zero_division=0)
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    assert scores["macro-f1"] == pytest.approx(f1)
    assert scores["mcc"] == pytest.approx(matthews_corrcoef(labels, predictions))


@given(st.lists(st.tuples(ANSWERS, ANSWERS), min_size=2, max_size=30))
def test_regression_agrees_with_scipy_and_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array([*pairs, (0, 1), (1, 0)]).T  # neither is constant

    scores = score(numbers(), predictions, labels)

    assert scores["spearman"] == pytest.approx(spearmanr(labels, predictions).statistic, abs=1e-12)
    assert scores["mse"] == pytest.approx(mean_squared_error(labels, predictions))


def test_constant_predictions_score_nothing_without_a_warning() -> None:
    labels = np.arange(4)

    assert score(numbers(), np.full(4, 2.5), labels)["spearman"] == 0
    assert score(classes(), np.zeros(4, dtype=int), labels)["mcc"] == 0


def test_the_primary_score_is_the_tasks_metric_and_higher_is_better() -> None:
    scores = {"spearman": 0.25, "mse": 3.0}

    assert primary(numbers("spearman"), scores) == 0.25
    assert primary(numbers("mse"), scores) == -3.0


@pytest.mark.parametrize(("right", "count"), [(0, 5), (3, 5), (5, 5), (410, 500)])
def test_the_interval_of_accuracy_is_wilsons(right: int, count: int) -> None:
    labels, predictions = np.zeros(count, dtype=int), (np.arange(count) >= right).astype(int)

    low, high = interval(classes(), predictions, labels, seed=0)

    # Wilson, "Probable Inference", 1927: the centre and half width for z = 1.96.
    z, p = 1.959963984540054, right / count
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    ends = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert (low, high) == (ends.low, ends.high)


@pytest.mark.parametrize(
    "task", [classes("macro-f1"), classes("mcc"), numbers(), numbers("mse")], ids=lambda t: t.metric
)
def test_a_bootstrap_interval_holds_the_score_and_narrows_with_more_examples(task: Task) -> None:
    widths = []
    for count in (100, 1600):
        labels, predictions = answers(task, count)
        low, high = interval(task, predictions, labels, seed=0)
        assert low < primary(task, score(task, predictions, labels)) < high
        widths.append(high - low)

    assert widths[0] / widths[1] == pytest.approx(4, rel=0.5)  # the root of 16


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32))
def test_the_bootstrap_of_a_mean_is_close_to_its_normal_interval(seed: int) -> None:
    labels, predictions = answers(numbers("mse"), 400, seed)
    errors = (labels - predictions) ** 2
    half = 1.96 * errors.std() / math.sqrt(len(errors))

    low, high = interval(numbers("mse"), predictions, labels, seed=seed)

    assert (low, high) == pytest.approx(
        (-errors.mean() - half, -errors.mean() + half), abs=half / 3
    )


def test_an_interval_is_the_same_for_the_same_seed_only() -> None:
    labels, predictions = answers(numbers())
    ends = [interval(numbers(), predictions, labels, seed=seed) for seed in (0, 0, 1)]

    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize(
    "task", [classes("mcc"), numbers(), numbers("mse")], ids=lambda t: t.metric
)
def test_constant_predictions_have_an_interval_without_a_warning(task: Task) -> None:
    low, high = interval(task, np.ones(20, dtype=int), np.arange(20) % 4, seed=0)

    assert math.isfinite(low)
    assert low <= high


def test_one_example_has_no_interval_but_its_score() -> None:
    assert interval(numbers("mse"), np.array([1.0]), np.array([3.0]), seed=0) == (-4.0, -4.0)


def test_many_classes_and_examples_resample_in_batches() -> None:
    task = Task("many", labels=tuple(map(str, range(150))), metric="macro-f1")
    labels, predictions = answers(task, 600)

    low, high = interval(task, predictions, labels, seed=0)

    assert 0 < low < high < 1
