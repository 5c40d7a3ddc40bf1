"""Rows of causal tasks: what is read, what is to be said, and what may be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mtlora_core.inputs import Chat, Input
from mtlora_core.prompts import Unfit, columns_in, fill, text_of, turns

from .columns import Columns
from .entry import TaskEntry
from .faults import Faults
from .row import Row
from .rows import NO_TASK, check_columns

MOST_OPTIONS = 64
"""The most distinct answers that are taken for options where the entry names none."""


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
        except Unfit as unfit:
            faults.add(path, index, unfit.what, unfit.found)
    return rows


def _columns(entry: TaskEntry) -> Iterator[str]:
    yield from (entry.messages,) if entry.chat else entry.template_or_default.columns
    if isinstance(entry.options, str):
        yield entry.options


def _row(path: Path, index: int, task: str | None, row: Mapping[str, Any], entry: TaskEntry) -> Row:
    if entry.task_column is not None and task is None:
        raise Unfit(NO_TASK.format(entry.task_column))
    given, answer = (_chat if entry.chat else _filled)(row, entry)
    if not answer.strip():
        raise Unfit("the answer is empty")
    options = entry.asking.choices(row)
    if options and answer not in options:
        raise Unfit(f"the answer {answer!r} is none of the row's options: {{}}", list(options))
    return Row(path, index, task, given, answer, options)


def _filled(row: Mapping[str, Any], entry: TaskEntry) -> tuple[Input, str]:
    prompt = entry.asking.prompted(row)  # as the trained model will be asked
    if not prompt.strip():
        raise Unfit("the prompt is empty")
    answer = entry.template_or_default.answer
    said = {column: text_of(column, row[column]) for column in columns_in(answer)}
    return prompt, fill(answer, said)


def _chat(row: Mapping[str, Any], entry: TaskEntry) -> tuple[Input, str]:
    """Return what was said up to the last turn of the user, and what was answered."""
    asked, answers = turns(row[entry.messages])
    if [role for role, _ in answers] != ["assistant"]:
        found = ", ".join(role for role, _ in answers) or "nobody"
        raise Unfit("one answer of the assistant must follow the user's last turn, not {}", found)
    return Chat(asked), answers[0][1]


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


def shared_options(entry: TaskEntry, rows: Mapping[Any, Sequence[Row]]) -> tuple[str, ...]:
    """Return the answers that every row of a task may be answered with; empty: any.

    Those that the entry lists; left out, those of the training rows, where there are few and no
    other row has another.
    """
    if isinstance(entry.options, tuple):
        return tuple(map(entry.asking.said, entry.options))
    if entry.options is not None:
        return ()
    found = {row.label for row in rows["train"]}
    others = {row.label for split in rows.values() for row in split}
    few = 1 < len(found) <= MOST_OPTIONS
    return tuple(sorted(found)) if few and others <= found else ()
