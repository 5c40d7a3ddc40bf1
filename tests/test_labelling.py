"""Labels, metric and weights that a loss would take amiss are told before anything is learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mtlora_core.labelling import task_problems
from mtlora_core.tasks import METRICS, Example, Objective, Task, TaskData

SOUND: dict[Objective, tuple[Task, Sequence[Any]]] = {
    "classification": (Task("mood", labels=("bad", "good")), [0, 1]),
    "regression": (Task("age", "regression"), [1, 2.5, -3]),
    "causal": (Task("sum", "causal"), ["four", "two"]),
}


def examples(labels: Sequence[Any]) -> list[Example]:
    return [Example("a text", label) for label in labels]


def data(objective: Objective = "classification", *odd: Any, **changes: Any) -> TaskData:
    """Return a sound task's data, with ``odd`` labels behind the others of the training split."""
    task, labels = SOUND[objective]
    rows = examples(labels)
    return TaskData(replace(task, **changes), [*rows, *examples(odd)], rows, rows)


@pytest.mark.parametrize("objective", SOUND)
def test_a_sound_task_has_no_problem_by_any_of_its_metrics(objective: Objective) -> None:
    assert [task_problems(data(objective, metric=each)) for each in METRICS[objective]] == [
        [] for _ in METRICS[objective]
    ]


@pytest.mark.parametrize("odd", [-100, -1, 2, 1.9, "1", None, np.int64(1)])
def test_a_class_is_a_whole_number_below_their_count(odd: Any) -> None:
    assert task_problems(data("classification", odd)) == [
        f"task 'mood': train[2] has {odd!r}; "
        "a label is a Python int, the index of one of its 2 classes, counted from 0"
    ]


@pytest.mark.parametrize("odd", [math.nan, math.inf, "1", None, np.float32(1)])
def test_a_number_is_finite(odd: Any) -> None:
    assert task_problems(data("regression", odd)) == [
        f"task 'age': train[3] has {odd!r}; a label is a finite Python number"
    ]


@pytest.mark.parametrize("odd", ["", 4, None])
def test_an_answer_is_a_text(odd: Any) -> None:
    assert task_problems(data("causal", odd)) == [
        f"task 'sum': train[2] has {odd!r}; an answer is a text that is not empty"
    ]


def test_an_answer_is_among_those_to_choose_from() -> None:
    own = Example("a text", "five", options=("five", "six"))
    task = data("causal", "five", labels=("two", "four"))

    assert task_problems(replace(task, validation=[own])) == [
        "task 'sum': train[2] has 'five'; an answer is one of those to choose from"
    ]


def test_labels_are_counted_over_all_splits_and_a_few_are_named() -> None:
    rows = examples([0, 2, 3])

    assert task_problems(replace(data("classification", 9), validation=rows, test=rows)) == [
        "task 'mood': train[2] has 9, validation[1] has 2, validation[2] has 3 "
        "(and 2 more do not fit); "
        "a label is a Python int, the index of one of its 2 classes, counted from 0"
    ]


@pytest.mark.parametrize(
    ("objective", "changes", "problem"),
    [
        (
            "classification",
            {"metric": "spearman"},
            "metric 'spearman' does not score classification; take accuracy or macro-f1 or mcc",
        ),
        (
            "regression",
            {"metric": "f1"},
            "metric 'f1' does not score regression; take spearman or mse",
        ),
        (
            "classification",
            {"objective": "ranking", "metric": "mcc"},
            "objective 'ranking' is none of classification, regression, causal",
        ),
        (
            "classification",
            {"weight": -1.0},
            "weight is -1.0; it must be a Python number of 0 or more",
        ),
        (
            "regression",
            {"weight": np.float32(1)},
            f"weight is {np.float32(1)!r}; it must be a Python number of 0 or more",
        ),
        (
            "regression",
            {"weight": math.nan},
            "weight is nan; it must be a Python number of 0 or more",
        ),
        (
            "classification",
            {"class_weights": (1.0, 2.0, 3.0)},
            "has 3 class_weights for 2 classes; give one each",
        ),
        (
            "classification",
            {"class_weights": (1.0, -1.0)},
            "a class weight is -1.0; it must be a Python number of 0 or more",
        ),
        (
            "regression",
            {"class_weights": (1.0, 2.0)},
            "class_weights belong to classification, and this is regression",
        ),
        (
            "classification",
            {"labels": ("good", "good")},
            "the labels are ('good', 'good'); a class needs a name of its own",
        ),
    ],
)
def test_what_a_task_says_of_itself_fits_its_objective(
    objective: Objective, changes: dict[str, Any], problem: str
) -> None:
    sound = data(objective)
    task = replace(sound.task, **changes)

    assert task_problems(replace(sound, task=task)) == [f"task {task.name!r}: {problem}"]


def test_one_class_is_nothing_to_learn() -> None:
    task = replace(data(labels=("good",)), train=examples([0]), validation=[], test=[])

    assert task_problems(task) == [
        "task 'mood': the labels are ('good',); a classification needs two or more"
    ]


def test_all_problems_of_a_task_are_told_at_once() -> None:
    assert len(task_problems(data("classification", 5, metric="mse", weight=-1.0))) == 3
