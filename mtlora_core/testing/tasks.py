"""What every source of tasks promises: examples with labels that their task knows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..component import Component, load
from ..inputs import Chat, Image, Input
from ..labelling import task_problems
from ..tasks import Task, TaskData
from .samples import options_of


def check_tasks(component: Component, options: Mapping[str, Any] | None = None) -> None:
    """Assert that a source of tasks keeps its contract.

    Names are unique; every split has examples, with inputs of a known kind and labels that the
    task knows; its metric and weights fit its objective; a task survives JSON; and the same seed
    gives the same examples in the same order.

    Args:
        component: The description.
        options: Its options, as a recipe writes them.
    """
    values, build = options_of(component, options), load(component.build)
    tasks: Sequence[TaskData] = build(values, seed=0)

    assert isinstance(tasks, Sequence), f"{component.build} returns no Sequence, but {tasks!r}"
    assert tasks, "there are no tasks"
    for each in tasks:
        assert isinstance(each, TaskData), f"{each!r} is no TaskData"
    for name, count in Counter(data.task.name for data in tasks).items():
        assert count == 1, f"{count} tasks are named {name!r}"
    for data in tasks:
        _check_task(data.task)
        for split, examples in data.splits():
            assert examples, f"task {data.task.name!r} has no examples in {split}"
            for number, example in enumerate(examples):
                _check_input(example.input, f"{data.task.name}.{split}[{number}]")
        problems = task_problems(data)
        assert not problems, "\n".join(problems)
    again = [data.fingerprint() for data in build(values, seed=0)]
    assert [data.fingerprint() for data in tasks] == again, "the same seed gives other examples"


def _check_task(task: Task) -> None:
    written = json.loads(json.dumps(task.to_json()))
    assert Task.from_json(written) == task, f"task {task.name!r} does not survive JSON"


def _check_input(given: Input, where: str) -> None:
    if isinstance(given, Chat):
        assert given.messages, f"{where}: nobody has said anything"
    elif isinstance(given, Image):
        assert given.open().mode == "RGB", f"{where}: the picture is not in RGB"
    else:
        texts = given if isinstance(given, tuple) else (given,)
        assert len(texts) <= 2, f"{where}: {len(texts)} texts are neither one nor a pair"
        assert all(isinstance(text, str) for text in texts), f"{where}: {texts!r} are no texts"
