"""Rows of causal tasks: what is read, what is to be said, and what may be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mtlora_core.inputs import Chat, Input

from .columns import Columns
from .entry import TaskEntry, label_name
from .faults import Faults
from .row import Row
from .rows import NO_TASK, check_columns
from .template import Template, fill

MOST_OPTIONS = 64
"""The most distinct answers that are taken for options where the entry names none."""
ROLES = ("system", "user", "assistant")


class _Unfit(Exception):
    """A row cannot be used: why, with ``{}`` for what was found."""

    def __init__(self, what: str, found: object = None) -> None:
        super().__init__(what)
        self.what, self.found = what, found


def causal_rows(table: Columns, entry: TaskEntry, faults: Faults) -> list[Row]:
    """Return the entry's rows of a file, with answers for labels; those that lack one are noted.

    Raises:
        DataError: the file has not the columns.
    """
    names, path = [*_columns(entry)], table.path
    check_columns(path, (*names, *entry.task_columns), table.names)
    columns, tasks = {name: table.values(name) for name in names}, table.tasks(entry)
    rows = []
    for index in table.rows(entry):
        own = {name: values[index] for name, values in columns.items()}
        try:
            rows.append(_row(path, index, tasks[index], own, entry))
        except _Unfit as unfit:
            faults.add(path, index, unfit.what, unfit.found)
    return rows


def _columns(entry: TaskEntry) -> Iterator[str]:
    yield from (entry.messages,) if entry.chat else entry.template_or_default.columns
    if isinstance(entry.options, str):
        yield entry.options


def _row(path: Path, index: int, task: str | None, row: Mapping[str, Any], entry: TaskEntry) -> Row:
    if entry.task_column is not None and task is None:
        raise _Unfit(NO_TASK.format(entry.task_column))
    given, answer = _chat(row[entry.messages]) if entry.chat else _filled(row, entry)
    if not answer.strip():
        raise _Unfit("the answer is empty")
    options: tuple[str, ...] = ()
    if isinstance(entry.options, str):
        options = _own_options(entry.options, row[entry.options], entry, answer)
    return Row(path, index, task, given, answer, options)


def _filled(row: Mapping[str, Any], entry: TaskEntry) -> tuple[Input, str]:
    template = entry.template_or_default
    values = {column: _text(column, row[column]) for column in template.columns}
    prompt = fill(template.prompt, values)
    if not prompt.strip():
        raise _Unfit("the prompt is empty")
    return prompt, fill(template.answer, values)


def _text(column: str, value: object) -> str:
    if value is None:
        raise _Unfit(f"column {column!r} has nothing")
    if (text := label_name(value)) is not None:
        return text
    if isinstance(value, float):
        return str(value)
    raise _Unfit(f"column {column!r} has {{}}, which is no text", value)


def _chat(value: object) -> tuple[Input, str]:
    """Return what was said up to the last turn of the user, and what was answered."""
    if not isinstance(value, list) or not value:
        raise _Unfit("there are no messages, but {}", value)
    messages = [_message(each) for each in value]
    turns = [i for i, (role, _) in enumerate(messages) if role == "user"]
    if not turns:
        raise _Unfit("the user says nothing")
    asked, answers = messages[: turns[-1] + 1], messages[turns[-1] + 1 :]
    if [role for role, _ in answers] != ["assistant"]:
        found = ", ".join(role for role, _ in answers) or "nobody"
        raise _Unfit("one answer of the assistant must follow the user's last turn, not {}", found)
    return Chat(tuple(asked)), answers[0][1]


def _message(value: object) -> tuple[str, str]:
    if not isinstance(value, Mapping):
        raise _Unfit('a message is {}, and not {"role": …, "content": …}', value)
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise _Unfit(f"a message has the role {{}}; the roles are {', '.join(ROLES)}", role)
    if not isinstance(content, str):
        raise _Unfit("a message has the content {}, which is no text", content)
    return str(role), content


def _own_options(column: str, value: object, entry: TaskEntry, answer: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise _Unfit(f"column {column!r} has {{}}, and not a list of two answers or more", value)
    options = _as_said([_text(column, each) for each in value], entry)
    if answer not in options:
        raise _Unfit(f"the answer {answer!r} is none of the row's options: {{}}", list(options))
    return options


def check_answers(options: Sequence[str], rows: Mapping[Any, Sequence[Row]]) -> None:
    """Check that the rows' answers are among the options, where there are any.

    Raises:
        DataError: some are not.
    """
    faults = Faults()
    for row in (row for split in rows.values() for row in split if options):
        if row.label not in options:
            near = get_close_matches(row.label, options, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            what = (
                f"answer {{}} is none of `options`; {hint}they are {', '.join(map(repr, options))}"
            )
            faults.add(row.path, row.index, what, row.label)
    faults.check()


def _as_said(options: Sequence[str], entry: TaskEntry) -> tuple[str, ...]:
    """Return options as the model is to say them: in the answer's place of the template."""
    template: Template | None = None if entry.chat else entry.template_or_default
    if template is None or template.answer_column is None:
        return tuple(options)
    column = template.answer_column
    return tuple(fill(template.answer, {column: option}) for option in options)


def shared_options(entry: TaskEntry, rows: Mapping[Any, Sequence[Row]]) -> tuple[str, ...]:
    """Return the answers that every row of a task may be answered with; empty: any.

    Those that the entry lists; left out, those of the training rows, where there are few and no
    other row has another.
    """
    if isinstance(entry.options, tuple):
        return _as_said(entry.options, entry)
    if entry.options is not None:
        return ()
    found = {row.label for row in rows["train"]}
    others = {row.label for split in rows.values() for row in split}
    few = 1 < len(found) <= MOST_OPTIONS
    return tuple(sorted(found)) if few and others <= found else ()
