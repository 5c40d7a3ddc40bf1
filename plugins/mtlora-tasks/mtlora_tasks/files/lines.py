"""Finds the line of a row, or the line that keeps a file from being read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from .paths import form, pictures_in

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def place(path: Path, row: int) -> str:
    """Return ``file:line`` of a row counted from 0; ``file: row n`` where rows have no lines.

    Of a folder of pictures, whose rows are files, it is the file.
    """
    if path.is_dir():
        return str(pictures_in(path)[row])
    line = next(islice(_starts(path), row, None), None)
    return f"{path}: row {row + 1}" if line is None else f"{path}:{line}"


def unreadable(path: Path) -> str | None:
    """Return ``file:line: reason`` for the first line that cannot be read, or None."""
    if (reason := _not_text(path)) is not None:
        return reason
    if form(path) in DELIMITERS:
        return _bad_csv(path)
    return _bad_document(path) if _is_array(path) else _bad_json(path)


def wrong_document(path: Path) -> str | None:
    """Return ``file:line: reason`` for what keeps a file from being one JSON value, or None."""
    return _not_text(path) or _bad_document(path)


def _starts(path: Path) -> Iterator[int]:
    """Yield the line that each row begins at; nothing where rows are not told by lines."""
    if form(path) in DELIMITERS:
        yield from islice((line for line, _ in _records(path)), 1, None)
    elif form(path) in (".jsonl", ".json") and not _is_document(path):
        yield from (line for line, _ in objects(path))


def objects(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a JSON file that are not blank, each with its number from 1."""
    with path.open(encoding="utf-8-sig") as file:
        yield from ((n, text) for n, text in enumerate(file, 1) if text.strip())


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the fields of each record; a quoted field may hold line breaks."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=DELIMITERS[form(path)], strict=True)
        start = 1
        for fields in reader:
            if fields:
                yield start, fields
            start = reader.line_num + 1


def _not_text(path: Path) -> str | None:
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                return f"{path}:{line}: is no UTF-8 text: byte {error.start + 1} of the line"
    return None


def _bad_json(path: Path) -> str | None:
    types: dict[str, str] = {}
    for line, text in objects(path):
        try:
            value = json.loads(text)
        except ValueError as error:
            return f"{path}:{line}: is no JSON: {error}"
        if not isinstance(value, dict):
            return f'{path}:{line}: is no JSON object, such as {{"text": …, "label": …}}'
        for column, found in value.items():
            if found is not None and (now := json_type(found)) != types.setdefault(column, now):
                return f"{path}:{line}: column {column!r} is {now}, before it is {types[column]}"
    return None


def json_type(value: object) -> str:
    """Return what JSON calls the type of a value, with its article."""
    match value:
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
    return "a list" if isinstance(value, list) else "an object"


def _bad_document(path: Path) -> str | None:
    try:
        json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        return f"{path}:{error.lineno}: is no JSON: {error.msg}, column {error.colno}"
    return None


def _bad_csv(path: Path) -> str | None:
    line, columns = 0, 0
    try:
        for line, fields in _records(path):
            columns = columns or len(fields)
            if len(fields) != columns:
                return f"{path}:{line}: has {len(fields)} fields, the header has {columns}"
    except csv.Error as error:
        return f"{path}:{line + 1}: {error}; is a quotation mark left open?"
    return None


def _is_array(path: Path) -> bool:
    with path.open(encoding="utf-8-sig") as file:
        return form(path) == ".json" and file.read(4096).lstrip().startswith("[")


def _is_document(path: Path) -> bool:
    """Whether a file is one JSON value, whose rows are not told by lines."""
    if _is_array(path):
        return True
    first = [text for _, text in islice(objects(path), 2)]
    return form(path) == ".json" and (len(first) < 2 or not _is_json(first[0]))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
