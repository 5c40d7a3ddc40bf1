"""Reads a data file with Hugging Face ``datasets``."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets

from mtlora_core.errors import DataError

from .lines import DELIMITERS, unreadable
from .paths import form


def read(path: Path) -> datasets.Dataset:
    """Return the rows of a file, in memory: nothing is left in the cache of ``datasets``.

    A CSV file's values are read as text, so that ``NA`` and ``007`` stay what they are.

    Raises:
        DataError: the file cannot be read, with the line where there is one, or has no rows.
    """
    with _quiet(), TemporaryDirectory(prefix="mtlora-") as cache:
        try:
            return READERS[form(path)](path, cache)
        except Exception as error:  # of datasets, pyarrow, pandas and the system: all the file's
            raise DataError(_reason(path, error)) from error


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
    return datasets.Dataset.from_json(str(path), cache_dir=cache, keep_in_memory=True)


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
def _quiet() -> Iterator[None]:
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
