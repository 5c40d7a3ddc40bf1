"""What is wrong with a task and its labels, before a loss or a metric would take them amiss.

A loss takes much: cross-entropy passes over the label -100, and 1.9 becomes class 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite

from .tasks import METRICS, Example, Task, TaskData

Rule = tuple[str, Callable[[Example], bool]]
"""What a label is, and whether an example's is that."""

NAMED = 3
"""Examples that a problem names, of those it counts."""


def task_problems(data: TaskData) -> list[str]:
    """Return what keeps a task from being learnt and scored as it says; a line a kind of fault."""
    task = data.task
    if task.objective not in METRICS:
        found = [f"objective {task.objective!r} is none of {', '.join(METRICS)}"]
    else:
        found = [*_problems(task), *_label_problems(data)]
    return [f"task {task.name!r}: {problem}" for problem in found]


def _problems(task: Task) -> Iterator[str]:
    known = METRICS[task.objective]
    if task.metric not in known:
        yield f"metric {task.metric!r} does not score {task.objective}; take {' or '.join(known)}"
    if not _is_weight(task.weight):
        yield f"weight is {task.weight!r}; it must be a Python number of 0 or more"
    if task.objective == "classification":
        if len(task.labels) < 2:
            yield f"the labels are {task.labels}; a classification needs two or more"
        if len({*task.labels}) < len(task.labels):
            yield f"the labels are {task.labels}; a class needs a name of its own"
    yield from _class_weight_problems(task)


def _class_weight_problems(task: Task) -> Iterator[str]:
    weights = task.class_weights
    if weights is None:
        return
    if task.objective != "classification":
        yield f"class_weights belong to classification, and this is {task.objective}"
    elif len(weights) != len(task.labels):
        yield f"has {len(weights)} class_weights for {len(task.labels)} classes; give one each"
    if wrong := [weight for weight in weights if not _is_weight(weight)]:
        yield f"a class weight is {wrong[0]!r}; it must be a Python number of 0 or more"


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value) and value >= 0


def _label_problems(data: TaskData) -> Iterator[str]:
    for what, keeps in _rules(data.task):
        wrong = [
            (split, i, example.label)
            for split, examples in data.splits()
            for i, example in enumerate(examples)
            if not keeps(example)
        ]
        named = ", ".join(f"{split}[{i}] has {label!r}" for split, i, label in wrong[:NAMED])
        more = f" (and {len(wrong) - NAMED} more do not fit)" if len(wrong) > NAMED else ""
        if wrong:
            yield f"{named}{more}; {what}"


def _rules(task: Task) -> list[Rule]:
    match task.objective:
        case "classification":
            count = len(task.labels)
            return [
                (
                    f"a label is a Python int, the index of one of its {count} classes, "
                    "counted from 0",
                    lambda each: isinstance(each.label, int) and 0 <= each.label < count,
                )
            ]
        case "regression":
            return [("a label is a finite Python number", _is_finite)]
        case "causal":
            return [
                ("an answer is a text that is not empty", _is_answer),
                ("an answer is one of those to choose from", lambda each: _is_choice(task, each)),
            ]


def _is_finite(example: Example) -> bool:
    return isinstance(example.label, int | float) and isfinite(example.label)


def _is_answer(example: Example) -> bool:
    return isinstance(example.label, str) and example.label != ""


def _is_choice(task: Task, example: Example) -> bool:
    choices = task.choices(example)
    return not choices or example.label in choices
