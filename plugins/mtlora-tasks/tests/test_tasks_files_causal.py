"""Causal tasks from files: prompts, answers, options and chats."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtlora_core.errors import DataError
from mtlora_core.inputs import Chat
from mtlora_core.prompts import columns_in, fill
from mtlora_core.sites import BackboneShape
from mtlora_core.tasks import Example, Question, Task, TaskData
from mtlora_core.testing import check_tasks, described
from mtlora_tasks.files.build import build_files
from mtlora_tasks.files.options import FilesOptions

import mtlora_tasks  # isort: skip  # the door, under its own name

SHARED = Path(os.environ.get("MTLORA_SHARED", Path(__file__).parents[4] / "shared"))
BBH = SHARED / "data" / "bbh"

Rows = Sequence[dict[str, Any]]
SUMS: Rows = [
    {"question": f"{n} and {n % 3}?", "hint": "" if n % 2 else "add", "sum": n + n % 3}
    for n in range(20)
]
MOODS: Rows = [{"text": f"text {n}", "label": "sad" if n % 3 else "glad"} for n in range(20)]
SUM = {"prompt": "Q: {question}\n{hint}\nA:", "answer": " {sum}"}
TALK = [("system", "Be short."), ("user", "One?"), ("assistant", "1"), ("user", "Two?")]


def options_of(root: Path, rows: Rows | str, **entry: Any) -> FilesOptions:
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    file = entry.pop("file", "train.jsonl")
    (root / file).write_text(text)
    one = {"name": "one", "train": file, "objective": "causal", **entry}
    return FilesOptions.model_validate({"root": str(root), "entries": [one]})


def build(root: Path, rows: Rows | str, seed: int = 0, **entry: Any) -> TaskData:
    [data] = build_files(options_of(root, rows, **entry), seed=seed)
    return data


def problem(root: Path, rows: Rows | str, **entry: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(root, rows, **entry)
    [line] = caught.value.problems
    return line.replace(f"{root}/", "")


def said(data: TaskData) -> dict[Any, Example]:
    return {example.input: example for _, examples in data.splits() for example in examples}


def chat_rows(messages: Any, count: int = 4) -> Rows:
    return [{"messages": messages} for _ in range(count)]


def messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


HALF: dict[str, Any] = {"validation": 0.25, "test": 0.25}


# Templates


def test_a_template_makes_a_prompt_and_its_answer_of_each_row(tmp_path: Path) -> None:
    data = build(tmp_path, SUMS, template=SUM)

    found = said(data)
    assert len(found) == len(SUMS)
    assert found["Q: 4 and 1?\nadd\nA:"].label == " 5"
    assert found["Q: 5 and 2?\n\nA:"].label == " 7"  # an empty column is an empty text
    assert data.task.objective == "causal"
    assert data.task.metric == "exact-match"


def test_without_a_template_the_text_is_answered_by_the_label(tmp_path: Path) -> None:
    data = build(tmp_path, MOODS)
    other = build(tmp_path, [{"q": r["text"], "a": r["label"]} for r in MOODS], text="q", label="a")

    assert said(data)["text 3"].label == "glad"
    assert [*other.splits()] == [*data.splits()]


@pytest.mark.parametrize(
    ("text", "columns", "filled"),
    [
        ("{a}-{b}-{a}", ("a", "b"), "1-2-1"),
        ("{{a}} {a}", ("a",), "{a} 1"),
        ("{{{a}}}", ("a",), "{1}"),
        ("{c d!r:>9}", ("c d!r:>9",), "3"),
        ("{a.b[0]}", ("a.b[0]",), "4"),
        ("no column", (), "no column"),
    ],
)
def test_a_column_is_named_and_nothing_else(
    text: str, columns: tuple[str, ...], filled: str
) -> None:
    values = {"a": "1", "b": "2", "c d!r:>9": "3", "a.b[0]": "4"}

    assert columns_in(text) == columns
    assert fill(text, values) == filled


def test_a_value_with_braces_is_filled_in_as_it_stands() -> None:
    assert fill("{a}{b}", {"a": "{b}", "b": "2"}) == "{b}2"


@pytest.mark.parametrize(
    ("template", "advice"),
    [
        ({"prompt": "{a", "answer": "{b}"}, "a brace that closes or opens nothing"),
        ({"prompt": "a}", "answer": "{b}"}, "a brace that closes or opens nothing"),
        ({"prompt": "{}", "answer": "{b}"}, "a brace that closes or opens nothing"),
        ({"prompt": "{a}", "answer": "yes"}, "names no column, so every answer would be the same"),
        ({"prompt": "{a}"}, "Field required"),
    ],
)
def test_a_template_that_cannot_be_filled_is_told_at_once(
    tmp_path: Path, template: Any, advice: str
) -> None:
    with pytest.raises(ValidationError, match=advice):
        options_of(tmp_path, SUMS, template=template)


def test_an_unknown_column_names_those_there_are(tmp_path: Path) -> None:
    template = {**SUM, "prompt": "{questoin:>10}"}

    assert problem(tmp_path, SUMS, template=template) == (
        "train.jsonl: has no column 'questoin:>10'; did you mean 'question'? the columns are "
        "question, hint, sum"
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": None, "label": "a"}, "column 'text' has nothing"),
        ({"text": "a"}, "column 'label' has nothing"),
        ({"text": " ", "label": "a"}, "the prompt is empty"),
        ({"text": "a", "label": " "}, "the answer is empty"),
    ],
)
def test_a_row_that_lacks_something_is_told_by_its_line(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    assert problem(tmp_path, [*MOODS[:3], row]) == f"train.jsonl:4: {reason}"


def test_a_value_that_is_no_text_is_shown(tmp_path: Path) -> None:
    rows = [{"text": f"{n}", "label": [n]} for n in range(4)]

    assert problem(tmp_path, rows) == (
        "train.jsonl:1: column 'label' has [0], which is no text (and 3 more such rows)"
    )


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (0.5, "0.5"), (2.0, "2"), (True, "true")])
def test_numbers_and_truth_values_are_said_as_json_writes_them(
    tmp_path: Path, value: Any, text: str
) -> None:
    data = build(tmp_path, [{"text": f"{n}", "label": value} for n in range(20)])

    assert {example.label for example in said(data).values()} == {text}


# Options


def test_few_answers_are_the_options_where_none_are_named(tmp_path: Path) -> None:
    assert build(tmp_path, MOODS).task.labels == ("glad", "sad")
    many = [{"text": f"{n}", "label": f"{n % 65}"} for n in range(130)]
    assert build(tmp_path, many).task.labels == ()
    assert len(build(tmp_path, many[:64]).task.labels) == 64
    alike = [{"text": f"{n}", "label": "yes"} for n in range(20)]
    assert build(tmp_path, alike).task.labels == ()


def test_there_are_no_options_where_another_split_has_another_answer(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"text": "x", "label": "angry"}\n')

    assert build(tmp_path, MOODS, test="test.jsonl").task.labels == ()


def test_options_stand_in_the_answers_place_of_the_template(tmp_path: Path) -> None:
    template = {"prompt": "{text}:", "answer": " {label}."}

    data = build(tmp_path, MOODS, template=template, options=["sad", "glad", "angry"])

    assert data.task.labels == (" sad.", " glad.", " angry.")
    assert {example.label for example in said(data).values()} == {" sad.", " glad."}


def test_options_may_be_each_rows_own(tmp_path: Path) -> None:
    rows = [{"text": f"{n}", "label": n, "among": [n, n + 1]} for n in range(20)]

    data = build(
        tmp_path, rows, options="among", template={"prompt": "{text}", "answer": " {label}"}
    )

    assert data.task.labels == ()
    assert said(data)["4"].options == (" 4", " 5")


@pytest.mark.parametrize(
    ("among", "reason"),
    [
        (["b", "c"], "the answer 'a' is none of the row's options: ['b', 'c']"),
        (["a"], "column 'among' has ['a'], and not a list of two answers or more"),
    ],
)
def test_a_row_whose_options_are_wrong_is_told(
    tmp_path: Path, among: list[str], reason: str
) -> None:
    rows = [{"text": "x", "label": "a", "among": each} for each in (["a", "b"], among)]

    assert problem(tmp_path, rows, options="among") == f"train.jsonl:2: {reason}"


def test_an_answer_that_is_no_option_gets_the_nearest(tmp_path: Path) -> None:
    assert problem(tmp_path, MOODS, options=["sad", "glat"]) == (
        "train.jsonl:1: answer 'glad' is none of `options`; did you mean 'glat'? they are 'sad', "
        "'glat' (and 6 more such rows)"
    )


# Chats


def test_a_chat_is_answered_by_what_follows_the_users_last_turn(tmp_path: Path) -> None:
    rows = chat_rows(messages(*TALK, ("assistant", "2")))

    data = build(tmp_path, rows, chat=True, **HALF)

    assert {(e.input, e.label) for _, some in data.splits() for e in some} == {
        (Chat(tuple(TALK)), "2")
    }


def test_a_chat_may_stand_in_another_column(tmp_path: Path) -> None:
    own = messages(("user", "a"), ("assistant", "b"))
    rows = [{"talk": own, "messages": messages(("user", "c"), ("assistant", "d"))}] * 4

    data = build(tmp_path, rows, chat=True, messages="talk", **HALF)

    assert data.train[0] == Example(Chat((("user", "a"),)), "b")


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "there are no messages, but []"),
        ([("assistant", "a")], "the user says nothing"),
        ([("user", "a")], "one answer of the assistant must follow the user's last turn, not"),
        (
            [("user", "a"), ("assistant", "b"), ("assistant", "c")],
            "one answer of the assistant must follow the user's last turn, not 'assistant, ass",
        ),
        ([("robot", "a")], "a message has the role 'robot'; the roles are system, user, assistant"),
        ([("user", "a"), ("assistant", "")], "the answer is empty"),
    ],
)
def test_a_chat_that_cannot_be_learnt_is_told(
    tmp_path: Path, turns: list[tuple[str, str]], reason: str
) -> None:
    good = messages(("user", "a"), ("assistant", "b"))
    rows = [*chat_rows(good, 3), *chat_rows(messages(*turns), 1)]

    assert problem(tmp_path, rows, chat=True).startswith(f"train.jsonl:4: {reason}")


# Splits


def test_shares_and_limit_need_no_classes(tmp_path: Path) -> None:
    data = build(tmp_path, SUMS, template=SUM, validation=0.25, test=0.5, limit=3)

    assert [len(examples) for _, examples in data.splits()] == [3, 5, 10]
    assert len(said(data)) == 18


def test_the_same_seed_gives_the_same_splits(tmp_path: Path) -> None:
    first, again, other = (build(tmp_path, SUMS, seed, template=SUM) for seed in (0, 0, 1))

    assert first == again
    assert first.test != other.test


def test_a_task_column_makes_tasks_of_causal_rows_too(tmp_path: Path) -> None:
    rows = [{**row, "task": name} for name in ("b", "a") for row in SUMS]
    options = options_of(tmp_path, rows, template=SUM, name=None, task_column="task")

    tasks = build_files(options, seed=0)

    assert [data.task.name for data in tasks] == ["a", "b"]
    assert {len(said(data)) for data in tasks} == {len(SUMS)}
    untold = [*rows, {**rows[0], "task": None}]
    assert problem(tmp_path, untold, template=SUM, task_column="task", name="a") == (
        "train.jsonl:41: column 'task' names no task"
    )


def test_causal_tasks_keep_the_contract_of_tasks(tmp_path: Path) -> None:
    written = options_of(tmp_path, SUMS, template=SUM).model_dump(mode="json")

    check_tasks(described(mtlora_tasks, "tasks", "files"), written)


# Rows under a key of one object


def test_field_names_the_key_that_holds_the_rows(tmp_path: Path) -> None:
    for indent in (None, 1):
        text = json.dumps({"canary": "c", "examples": MOODS}, indent=indent)

        data = build(tmp_path, text, file="bbh.json", field="examples")

        assert data == build(tmp_path, MOODS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"rows": []}', "bbh.json: has no field 'examples'; its fields are rows"),
        ('{"examples": []}', "bbh.json: has no rows"),
        ('{"examples": 3}', "bbh.json: field 'examples' holds no list of objects"),
        ('{"examples": ["a"]}', "bbh.json: field 'examples' holds no list of objects"),
        ("[]", "bbh.json: is no JSON object, so it has no field 'examples'; leave it out"),
        ('{"examples":\n [}', "bbh.json:2: is no JSON: Expecting value, column 3"),
        ('{"examples": [{"text": 1}, {"text": "b"}]}', "bbh.json: cannot be read: "),
        (
            '{"examples": [\n{"text": "x", "label": "a"},\n{"text": "y"}]}',
            "bbh.json: row 2: column 'label' has nothing",
        ),
        (
            '{"examples": [{"text": "x"}, {"text": "y", "label": "a"}]}',
            "bbh.json: row 1: column 'label' has nothing",
        ),
    ],
)
def test_rows_that_are_not_under_the_key_are_told(
    tmp_path: Path, content: str, reason: str
) -> None:
    assert problem(tmp_path, content, file="bbh.json", field="examples").startswith(reason)


# What does not go together


@pytest.mark.parametrize(
    ("entry", "place", "advice"),
    [
        ({"metric": "accuracy"}, "metric", "the recipe's `evaluate:` says"),
        ({"labels": ["a", "b"]}, "labels", "`options` names them"),
        ({"class_weights": "balanced"}, "class_weights", "`options` names them"),
        ({"template": SUM, "chat": True}, "template", "leave one out"),
        ({"text": ["a", "b"]}, "text", "write a `template`"),
        (
            {"template": {"prompt": "a", "answer": "{b} {c}"}, "options": ["x", "y"]},
            "options",
            "the answer has several",
        ),
        ({"objective": "classification", "chat": True}, "chat", "belongs to causal tasks"),
        ({"objective": "regression", "template": SUM}, "template", "belongs to causal tasks"),
        ({"objective": "classification", "options": ["a", "b"]}, "options", "belongs to causal"),
        ({"field": "rows"}, "field", "only a .json file has fields, and train.jsonl is none"),
    ],
)
def test_keys_that_do_not_go_together_are_told_without_reading_data(
    tmp_path: Path, entry: dict[str, Any], place: str, advice: str
) -> None:
    found = options_of(tmp_path, MOODS, **entry).faults()

    assert [where for where, _ in found] == [f"entries.0.{place}"]
    assert advice in found[0][1]


def test_a_backbone_that_is_not_causal_is_refused(tmp_path: Path) -> None:
    options = options_of(tmp_path, MOODS)

    assert not [*options.problems(BackboneShape("llama", 8, (), True), ())]
    [(place, reason)] = options.problems(BackboneShape("bert", 8, (), False), ())
    assert place == "entries.0.objective"
    assert reason == (
        "a causal task needs a causal language model, such as LLaMA, and bert is none; take "
        "another backbone or objective"
    )


def test_resolved_options_mean_the_same_when_read_again(tmp_path: Path) -> None:
    options = options_of(tmp_path, SUMS, template=SUM, options=["1", "2"])

    assert FilesOptions.model_validate(options.model_dump(mode="json")) == options


@pytest.mark.skipif(not BBH.exists(), reason="needs ../shared, or MTLORA_SHARED, with data")
def test_big_bench_hard_is_a_suite_of_causal_tasks() -> None:
    described = {task["name"]: task for task in json.loads((BBH / "tasks.json").read_text())}
    options = FilesOptions.model_validate(
        {
            "root": str(BBH),
            "defaults": {
                "train": "{name}.json",
                "objective": "causal",
                "template": {"prompt": "Q: {input}\nA:", "answer": " {target}"},
                "test": 0.5,
            },
            "entries": list(described),
        }
    )

    tasks = {data.task.name: data for data in build_files(options, seed=0)}

    counts = {name: sum(len(some) for _, some in data.splits()) for name, data in tasks.items()}
    assert sum(counts.values()) == 6511
    assert tasks["navigate"].task.labels == (" No", " Yes")
    assert tasks["word_sorting"].task.labels == ()
    assert len(tasks["navigate"].test) == 125


@pytest.mark.parametrize(
    ("rows", "entry"),
    [
        (SUMS, {"template": SUM}),
        (MOODS, {}),
        (MOODS, {"template": {"prompt": "{text} {{is}}", "answer": " {label}."}}),
        (
            [{"ask": f"{n}?", "say": "a" * (n % 2 + 1), "any": ["a", "aa"]} for n in range(20)],
            {"template": {"prompt": "{ask}", "answer": " {say}"}, "options": "any"},
        ),
        (
            [
                {"talk": [{"role": r, "content": f"{c}{n}"} for r, c in (*TALK, ("assistant", ""))]}
                for n in range(20)
            ],
            {"chat": True, "messages": "talk"},
        ),
    ],
    ids=["template", "default", "options-of-all", "options-of-each", "chat"],
)
def test_a_model_is_asked_of_a_row_what_it_learnt_of_it(
    tmp_path: Path, rows: Rows, entry: dict[str, Any]
) -> None:
    data = build(tmp_path, rows, **entry)

    task = Task.from_json(json.loads(json.dumps(data.task.to_json())))
    asked = [task.question(row) for row in rows]
    learnt = [Question(e.input, e.options) for _, examples in data.splits() for e in examples]
    assert sorted(map(repr, asked)) == sorted(map(repr, learnt))
