"""Options of the ``docstrings`` tasks."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, PositiveInt

from mtlora_core.options import Options

TaskName = Literal["returns", "kind", "verb", "optional", "exception", "name", "default", "area"]
TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)


def _distinct(names: tuple[TaskName, ...]) -> tuple[TaskName, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; name each task once")
    return names


class DocstringsOptions(Options):
    """Options of the ``docstrings`` tasks."""

    only: Annotated[tuple[TaskName, ...], Field(min_length=1), AfterValidator(_distinct)] = (
        TASK_NAMES
    )
    """The tasks of the suite that are trained, in this order."""
    limit: PositiveInt = 800
    """Most training examples of a task; fewer where the library holds fewer."""
