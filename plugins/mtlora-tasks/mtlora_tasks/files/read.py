"""Reads a data file with Hugging Face ``datasets``."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets

from mtlora_core.errors import DataError

from .lines import DELIMITERS, objects, unreadable, wrong_document
from .paths import form


def read(path: Path, field: str | None = None) -> datasets.Dataset:
    """Return the rows of a file, in memory: nothing is left in the cache of ``datasets``.

    A CSV file's values are read as text, so that ``NA`` and ``007`` stay what they are, and so are
    a JSON file's texts, though they be dates.

    Args:
        path: The file.
        field: The key under which a JSON file's one object holds its rows; None: it is a list of
            them, or has one a line.

    Raises:
        DataError: the file cannot be read, with the line where there is one, or has no rows.
    """
    if field is not None:
        return _under(path, field)
    with quiet(), TemporaryDirectory(prefix="mtlora-") as cache:
        try:
            return READERS[form(path)](path, cache)
        except Exception as error:  # of datasets, pyarrow, pandas and the system: all the file's
            raise DataError(_reason(path, error)) from error


def _under(path: Path, field: str) -> datasets.Dataset:
    whole = _document(path)
    if not isinstance(whole, dict):
        raise DataError(f"{path}: is no JSON object, so it has no field {field!r}; leave it out")
    if field not in whole:
        raise DataError(f"{path}: has no field {field!r}; its fields are {', '.join(whole)}")
    rows = whole[field]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: field {field!r} holds no list of objects")
    if not rows:
        raise DataError(f"{path}: has no rows")
    columns = dict.fromkeys(column for row in rows for column in row)
    try:
        return datasets.Dataset.from_dict({c: [row.get(c) for row in rows] for c in columns})
    except (ValueError, TypeError) as error:  # of pyarrow, about a column of mixed types
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise DataError(wrong_document(path) or f"{path}: is no JSON: {error}") from error


def _reason(path: Path, error: Exception) -> str:
    if form(path) == ".parquet":
        return f"{path}: is no Parquet file that can be read: {_first_line(error)}"
    if (reason := unreadable(path)) is not None:
        return reason
    if isinstance(error, StopIteration | IndexError) or "no data" in str(error):
        return f"{path}: has no rows"
    return f"{path}: cannot be read: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error  # datasets wraps what went wrong
    return next(iter(str(cause).splitlines()), type(cause).__name__)


def _json(path: Path, cache: str) -> datasets.Dataset:
    table = datasets.Dataset.from_json(str(path), cache_dir=cache, keep_in_memory=True)
    return _as_written(path, table)


def _as_written(path: Path, table: datasets.Dataset) -> datasets.Dataset:
    """Return a table of JSON with dates as the file has them; pyarrow makes times of the texts."""
    types = {field.name: str(field.type) for field in table.features.arrow_schema}
    dated = [name for name, kind in types.items() if "timestamp[" in kind]  # maybe in a list
    rows = _values(path) if dated else []
    if len(rows) != len(table):
        return table
    for name in dated:
        values = [row.get(name) for row in rows]
        table = table.remove_columns(name).add_column(name, values)
    return table.select_columns([*types])


def _values(path: Path) -> list[Any]:
    """Return the values of a JSON file: of its one list, or one a line."""
    try:
        whole = json.loads(path.read_text("utf-8-sig"))
    except ValueError:
        return [json.loads(line) for _, line in objects(path)]
    return whole if isinstance(whole, list) else [whole]


def _parquet(path: Path, cache: str) -> datasets.Dataset:
    return datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)


def _csv(path: Path, cache: str) -> datasets.Dataset:
    delimiter = DELIMITERS[form(path)]
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter))
    with warnings.catch_warnings():
        # pandas only warns of a row with more fields than the header, and drops what is over.
        warnings.filterwarnings("error", message="Length of header")
        return datasets.Dataset.from_csv(
            str(path),
            cache_dir=cache,
            keep_in_memory=True,
            features=datasets.Features({name: datasets.Value("string") for name in header}),
            sep=delimiter,
            index_col=False,
            keep_default_na=False,
            na_filter=False,
        )


READERS: Mapping[str, Callable[[Path, str], datasets.Dataset]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json,
    ".parquet": _parquet,
    ".tsv": _csv,
}
"""By the end of a file's name."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars and logged errors of ``datasets`` from the screen: ours say more."""
    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
