"""Texts with their tasks, read from JSON lines, and what is written beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlora_core.cli import queries
from mtlora_core.errors import DataError
from mtlora_core.files import json_line
from mtlora_core.inputs import Chat, ImageFile
from mtlora_core.prompts import Asking
from mtlora_core.tasks import Question, Task

if TYPE_CHECKING:
    from mtlora_core.model import Prediction

TASKS = (Task("verb"), Task("kind"))


class Answer:
    """A model's answer, without the model."""

    task = "verb"
    label: str | None = "read"
    probability: float | None = 0.75
    probabilities: dict[str, float] = {"read": 0.75, "write": 0.25}  # noqa: RUF012 - never changed
    value: float | None = None


class Number(Answer):
    """An answer to a regression task."""

    label, probability, probabilities, value = None, None, {}, 2.5


def answer(cls: type[Answer] = Answer) -> Prediction:
    found: Any = cls()
    return found  # type: ignore[no-any-return]


def file_of(folder: Path, *lines: object) -> Path:
    """Write lines, JSON or raw bytes, and return the file."""
    path = folder / "in.jsonl"
    raw = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def problems(path: Path, tasks: tuple[Task, ...] = TASKS) -> list[str]:
    with pytest.raises(DataError) as caught:
        queries.read(path, tasks)
    return [line.removeprefix(f"{path}:") for line in caught.value.problems]


def test_reads_texts_and_pairs_with_their_tasks(tmp_path: Path) -> None:
    path = file_of(
        tmp_path, {"text": "a", "task": "kind"}, b"", {"text": ["a", "b"], "task": "verb", "id": 7}
    )

    first, second = queries.read(path, TASKS)

    assert (first.question.input, first.task) == ("a", "kind")
    assert (second.question.input, second.task, second.given["id"]) == (("a", "b"), "verb", 7)


DOLLY = Task("dolly", "causal", asking=Asking("{instruction}\n{context}\n", messages=None))
QUIZ = Task("quiz", "causal", asking=Asking("Q: {question}\nA:", " {pick}", None, "choices"))
SUPPORT = Task("support", "causal", asking=Asking(None, messages="talk", options=None))
DRAWN = Task("drawn", "causal", asking=Asking("Draw {image}\n", messages=None))
TOLD = Task("told", "causal", asking=Asking("{task}: {input}", messages=None))
HELLO = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("task", "line", "expected"),
    [
        (DOLLY, {"instruction": "add", "context": 3}, Question("add\n3\n")),
        (QUIZ, {"question": "why?", "text": "other"}, Question("Q: why?\nA:")),
        (QUIZ, {"text": "why?"}, Question("Q: why?\nA:")),
        (QUIZ, {"text": "why?", "choices": ["b", 1]}, Question("Q: why?\nA:", (" b", " 1"))),
        (SUPPORT, {"text": "hello"}, Question(Chat((("user", "hello"),)))),
        (SUPPORT, {"talk": [HELLO]}, Question(Chat((("user", "hello"),)))),
        (
            SUPPORT,
            {"talk": [HELLO, {"role": "assistant", "content": "hi"}], "messages": 3},
            Question(Chat((("user", "hello"),))),
        ),
        (DRAWN, {"image": "a ball"}, Question("Draw a ball\n")),
        (TOLD, {"task": "say", "input": "it"}, Question("say: it")),
        (Task("own", "causal"), {"text": "as {it} is"}, Question("as {it} is")),
        (Task("own", "causal"), {"messages": [HELLO]}, Question(Chat((("user", "hello"),)))),
    ],
)
def test_a_causal_task_is_asked_as_its_rows_are(
    tmp_path: Path, task: Task, line: dict[str, Any], expected: Question
) -> None:
    (query,) = queries.read(file_of(tmp_path, line), [task])

    assert query.question == expected
    assert query.given == line


@pytest.mark.parametrize(
    ("task", "line", "reason"),
    [
        (
            DOLLY,
            {"text": "a"},
            "has no 'instruction' and no 'context'; the task is asked with "
            "'instruction' and 'context'",
        ),
        (DOLLY, {"instruction": "a"}, "has no 'context'; the task is asked with"),
        (DOLLY, {"instruction": "a", "context": [1]}, "column 'context' has [1], which is no text"),
        (QUIZ, {"txt": "a"}, "has no 'question'; the task is asked with 'question'"),
        (QUIZ, {"text": "a", "choices": ["b"]}, "not a list of two answers or more"),
        (SUPPORT, {"messages": [HELLO]}, "has no 'text'; the task is asked with 'talk' or 'text'"),
        (SUPPORT, {"talk": [{**HELLO, "role": "assistant"}]}, "the user says nothing"),
        (SUPPORT, {"talk": [{**HELLO, "role": "me"}]}, "a message has the role 'me'"),
        (SUPPORT, {"talk": "hello"}, "there are no messages, but 'hello'"),
        (DOLLY, {"text": ["a", "b"]}, "has no 'instruction' and no 'context'"),
    ],
)
def test_a_line_that_is_no_row_of_its_task_is_told(
    tmp_path: Path, task: Task, line: dict[str, Any], reason: str
) -> None:
    (problem,) = problems(file_of(tmp_path, line), (task,))

    assert problem.startswith("1: ")
    assert reason in problem


def test_reads_pictures_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    picture = tmp_path / "img" / "a.png"
    picture.touch()
    lines = [{"image": "img/a.png", "task": "kind"}, {"image": str(picture), "task": "verb"}]

    found = queries.read(file_of(tmp_path, *lines), TASKS)

    assert [query.question.input for query in found] == [ImageFile(str(picture))] * 2


@pytest.mark.parametrize(
    ("tasks", "default", "expected"), [((Task("only"),), None, "only"), (TASKS, "kind", "kind")]
)
def test_the_task_may_be_left_out_where_it_is_known(
    tmp_path: Path, tasks: tuple[Task, ...], default: str | None, expected: str
) -> None:
    (query,) = queries.read(file_of(tmp_path, {"text": "a"}), tasks, default)

    assert query.task == expected


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = file_of(tmp_path, "\ufeff".encode() + b'{"text": "a", "task": "verb"}')

    assert queries.read(path, TASKS)[0].question.input == "a"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": ', "column 10: not JSON"),
        (b"[1]", "must be a JSON object with 'text' or 'image', not list"),
        (b"\xff\xfe", "not UTF-8 at byte 1"),
        (b"[" * 100_000, "nested too deeply"),
        ({"txt": "a", "task": "verb"}, "has no 'text' and no 'image'; its keys are 'txt', 'task'"),
        ({"text": 3, "task": "verb"}, "'text' must be a string"),
        ({"text": ["a", "b", "c"], "task": "verb"}, "'text' must be a string"),
        ({"text": [], "task": "verb"}, "'text' must be a string"),
        ({"text": "a", "image": "b", "task": "verb"}, "a question is about one of them"),
        ({"image": 3, "task": "verb"}, "'image' must be a path, as a string"),
        ({"image": "gone.png", "task": "verb"}, "there is no picture "),
        ({"text": "a"}, "has no 'task'; the tasks are verb, kind"),
        ({"text": "a", "task": "vreb"}, "unknown task 'vreb'; did you mean 'verb'?"),
        ({"text": "a", "task": "zzz"}, "unknown task 'zzz'; the tasks are verb, kind"),
        ({"text": "a", "task": ["verb"]}, "unknown task ['verb']"),
        (b'{"text": "\\ud83d", "task": "verb"}', "has half a character"),
        (b'{"text": "a", "task": "verb", "id": "\\ud83d"}', "has half a character"),
    ],
)
def test_a_line_that_cannot_be_answered_is_told_with_its_number(
    tmp_path: Path, line: object, reason: str
) -> None:
    good = {"text": "a", "task": "verb"}

    (problem,) = problems(file_of(tmp_path, good, line, good))

    assert problem.startswith("2: ")
    assert reason in problem


def test_every_bad_line_is_told_at_once(tmp_path: Path) -> None:
    found = problems(file_of(tmp_path, b"{", {"text": "a"}, b"[]"))

    assert [line.split(":")[0] for line in found] == ["1", "2", "3"]


def test_a_file_that_is_wrong_throughout_does_not_flood_the_screen(tmp_path: Path) -> None:
    found = problems(file_of(tmp_path, *[b"{"] * 1500))

    assert len(found) == queries.SHOWN + 1
    assert found[-1].endswith("and 1,480 more")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(content)

    with pytest.raises(DataError, match="has no lines"):
        queries.read(path, TASKS)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.jsonl", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            queries.read(path, TASKS)


def test_an_answer_keeps_what_was_given() -> None:
    row = queries.answered(queries.Query(Question("a"), "verb", {"id": 7, "text": "a"}), answer())

    assert row == {
        "id": 7,
        "text": "a",
        "task": "verb",
        "label": "read",
        "probability": 0.75,
        "probabilities": {"read": 0.75, "write": 0.25},
    }


@pytest.mark.parametrize("label", ["read", "write"])
def test_a_true_label_moves_aside_and_is_not_lost(label: str) -> None:
    row = queries.answered(queries.Query(Question("a"), "verb", {"label": label}), answer())

    assert row["label"] == "read"
    assert row["given"] == {"label": label}


def test_regression_answers_with_a_number() -> None:
    row = queries.answered(queries.Query(Question("a"), "verb", {"text": "a"}), answer(Number))

    assert row == {"text": "a", "task": "verb", "value": 2.5}


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_a_line_is_one_line_of_json(row: dict[str, Any]) -> None:
    line = json_line(row)

    assert "\n" not in line
    assert json.loads(line) == row
