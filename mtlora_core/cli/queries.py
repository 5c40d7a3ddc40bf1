"""Questions to a model: inputs with their tasks, read from JSON lines, and the answers to write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..inputs import ImageFile, Input, Text
from ..tasks import Question, Task

if TYPE_CHECKING:
    from ..model import Prediction

SHOWN = 20
"""How many problems of one file are printed; a wrong column would otherwise fill the screen."""


@dataclass(frozen=True)
class Query:
    """A question to one task."""

    question: Question
    task: str
    given: Mapping[str, Any] = field(default_factory=dict)
    """The line it was read from; its keys are kept beside the answer."""


def read(path: Path, tasks: Sequence[Task], default: str | None = None) -> list[Query]:
    """Read queries from a file of JSON lines.

    A line is an object with ``text`` (a string, or a list of two for a pair) or ``image`` (a path
    relative to the file), and with ``task``, which may be left out where ``default`` is given or
    the model has one task. Of a causal task it may have the columns of the task's rows instead of
    ``text``: those of its template, or ``messages``; and the answers to choose from. Empty lines
    are skipped.

    Raises:
        DataError: the file cannot be read, or lines cannot be answered: each with its number.
    """
    known = {task.name: task for task in tasks}
    default = default or (tasks[0].name if len(tasks) == 1 else None)
    queries, problems = [], []
    for number, line in _lines(path):
        try:
            queries.append(_query(line, known, default, path.parent))
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        more = [f"{path}: and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise DataError(problems[:SHOWN] + more)
    if not queries:
        raise DataError(f"{path}: has no lines; each is to be a JSON object with 'text' or 'image'")
    return queries


def answered(query: Query, prediction: Prediction) -> dict[str, Any]:
    """Return what was given with the answer beside it: a label and probabilities, or a number.

    A key that the answer needs, such as the true ``label``, is moved into ``given``.
    """
    answer = _answer(prediction)
    clash = {key: query.given[key] for key in answer if key in query.given}
    moved = {"given": clash} if clash else {}
    return {**query.given, "task": prediction.task, **answer, **moved}


def sound(text: str) -> bool:
    """Whether the text can be written in UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def known_task(name: object, tasks: Sequence[str]) -> str:
    """Return ``name`` if it is a task.

    Raises:
        ValueError: it is not; the message has the nearest name, or all.
    """
    if name in tasks:
        return str(name)
    near = get_close_matches(str(name), tasks, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"the tasks are {', '.join(tasks)}"
    raise ValueError(f"unknown task {name!r}; {advice}")


def _answer(prediction: Prediction) -> dict[str, Any]:
    if prediction.value is not None:
        return {"value": prediction.value}
    names = ("label", "probability", "probabilities")
    return {name: getattr(prediction, name) for name in names}


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def picture(path: Path) -> ImageFile:
    """Return a picture to be asked about.

    Raises:
        ValueError: there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"there is no picture {path}")
    return ImageFile(str(path))


def _query(line: bytes, tasks: Mapping[str, Task], default: str | None, folder: Path) -> Query:
    given = _object(line)
    task = tasks[_task(given, tasks, default)]
    if task.objective == "causal":
        return Query(task.question(given), task.name, given)
    return Query(Question(_input(given, folder)), task.name, given)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"column {error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError("nested too deeply to be read") from None
    if not isinstance(value, dict):
        raise ValueError(
            f"must be a JSON object with 'text' or 'image', not {type(value).__name__}"
        )
    if not sound(json.dumps(value, ensure_ascii=False)):
        raise ValueError("has half a character: an escape such as \\ud83d without its other half")
    return value


def _input(given: Mapping[str, Any], folder: Path) -> Input:
    match [key for key in ("text", "image") if key in given]:
        case ["text"]:
            return _text(given)
        case ["image"]:
            if isinstance(given["image"], str):
                return picture(folder / given["image"])
            raise ValueError("'image' must be a path, as a string")
        case []:
            keys = ", ".join(map(repr, given)) or "none"
            raise ValueError(f"has no 'text' and no 'image'; its keys are {keys}")
    raise ValueError("has 'text' and 'image'; a question is about one of them")


def _text(given: Mapping[str, Any]) -> Text:
    match given["text"]:
        case str(text) | [str(text)]:
            return text
        case [str(first), str(second)]:
            return first, second
    raise ValueError("'text' must be a string, or a list of two strings for a pair")


def _task(given: Mapping[str, Any], tasks: Mapping[str, Task], default: str | None) -> str:
    asking = tasks[default].asking if default is not None else None
    # What a row of the task that is asked has there is a column of its prompt, and no task's name.
    if "task" in given and not (asking is not None and "task" in asking.columns):
        return known_task(given["task"], list(tasks))
    if default is None:
        raise ValueError(f"has no 'task'; the tasks are {', '.join(tasks)}")
    return default
