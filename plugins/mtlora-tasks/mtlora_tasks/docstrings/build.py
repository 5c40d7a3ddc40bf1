"""Builds the ``docstrings`` tasks."""

from __future__ import annotations

from collections.abc import Iterator

from mtlora_core.errors import DataError
from mtlora_core.tasks import SPLITS, Example, Split, Task, TaskData

from .balance import balanced
from .cache import cache_folder, cached_corpus
from .candidates import QUESTIONS, Candidate
from .corpus import Corpus
from .options import DocstringsOptions, TaskName
from .sources import stdlib

VALIDATION, TEST = 150, 300
"""Most validation and test examples of a task."""


def build_docstrings(options: DocstringsOptions, *, seed: int) -> list[TaskData]:
    """Return the tasks over the running Python's own library.

    They depend on the Python version and on no seed: every run on one Python has the same
    training, validation and test texts.

    Raises:
        DataError: the library has no sources, or too few for a task.
    """
    return build_suite(cached_corpus(stdlib(), cache_folder()), options)


def build_suite(corpus: Corpus, options: DocstringsOptions) -> list[TaskData]:
    """Return the tasks over a corpus that has each text once.

    Raises:
        DataError: a split of a task would be empty.
    """
    suite = [_task(corpus, name, options.limit) for name in options.only]
    if problems := [line for data in suite for line in _empty(data)]:
        raise DataError(problems)
    return suite


def _task(corpus: Corpus, name: TaskName, limit: int) -> TaskData:
    question = QUESTIONS[name]
    candidates = list(question.candidates(corpus))
    most: dict[Split, int] = {"train": limit, "validation": VALIDATION, "test": TEST}

    def examples(split: Split) -> list[Example]:
        taken = balanced((c for c in candidates if c.split == split), most[split])
        return [_example(c, question.labels) for c in taken]

    return TaskData(Task(name, labels=question.labels), *map(examples, SPLITS))


def _example(candidate: Candidate, labels: tuple[str, ...]) -> Example:
    return Example(candidate.input, labels.index(candidate.label))


def _empty(data: TaskData) -> Iterator[str]:
    for split, examples in data.splits():
        if not examples:
            yield (
                f"docstrings: task {data.task.name!r} has no {split} examples, as too few sources "
                f"of the standard library are installed; leave it out with `only`"
            )
