"""Runs become the rows of a study: what differs in the seed alone stands together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from .recipes import differing, phrase
from .runs import read_run
from .study import Row, Run, Study

UNSCORED = "has no test scores: it is not finished, or its recipe has evaluate.test: false"


def compare(folders: Sequence[Path], *, baseline: str | None = None) -> Study:
    """Return the study of some run folders.

    Args:
        folders: Of runs; rows stand in the order in which their first run is named. Runs without
            test scores are left out, and the study's notes say so.
        baseline: The name of the row that others are held against; None takes the first.

    Raises:
        RunFolderError: a folder is no run, none has test scores, two are of one recipe and seed, or
            no row has the baseline's name.
    """
    found = {folder: read_run(folder) for folder in dict.fromkeys(folders)}
    runs = [run for run in found.values() if run is not None]
    if not runs:
        raise RunFolderError([f"{folder}: the run {UNSCORED}" for folder in found])
    rows = _rows(runs)
    title = " · ".join(dict.fromkeys(run.name for run in runs))
    return study_of(title, rows, baseline or rows[0].name, _unfinished(found))


def study_of(title: str, rows: Sequence[Row], baseline: str, notes: Sequence[str] = ()) -> Study:
    """Return the study of some rows, with what its reader should know of them.

    Raises:
        RunFolderError: no row has the baseline's name.
    """
    by_name = {row.name: row for row in rows}
    if baseline not in by_name:
        known = ", ".join(map(repr, by_name))
        raise RunFolderError(f"--baseline: no row is called {baseline!r}; the rows are {known}")
    study = Study(title, rows, by_name[baseline])
    return replace(study, notes=[*notes, *_unlike(study), *_seeds(study)])


def _rows(runs: Sequence[Run]) -> list[Row]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps({**run.recipe, "seed": None}, sort_keys=True), []).append(run)
    members = [sorted(group, key=lambda run: run.seed) for group in groups.values()]
    if twins := [line for group in members for line in _twins(group)]:
        raise RunFolderError(twins)
    names = _names([group[0] for group in members])
    return [Row(name, group) for name, group in zip(names, members, strict=True)]


def _twins(group: Sequence[Run]) -> list[str]:
    """Return a line for runs that repeat another: they would count as evidence twice."""
    return [
        f"{later.folder}: is {run.folder} again, the same recipe and seed; give one of them"
        for run, later in pairwise(group)
        if run.seed == later.seed
    ]


def _names(firsts: Sequence[Run]) -> list[str]:
    """Return a name for each row: its recipe's, with what tells it from others of that name."""
    alike: dict[str, list[Run]] = {}
    for run in firsts:
        alike.setdefault(run.name, []).append(run)
    return [_name(run, alike[run.name]) for run in firsts]


def _name(run: Run, alike: Sequence[Run]) -> str:
    recipes = [other.recipe for other in alike]
    own: Mapping[str, Any] = differing(recipes)[alike.index(run)]
    told = ", ".join(f"{key} {phrase(value)}" for key, value in own.items())
    return f"{run.name} ({told})" if told else run.name


def _unfinished(found: Mapping[Path, Run | None]) -> list[str]:
    left = [str(folder) for folder, run in found.items() if run is None]
    return [f"Without test scores, and left out: {', '.join(left)}."] if left else []


def _unlike(study: Study) -> Iterator[str]:
    common, tasks = study.common, study.tasks
    if not common:
        yield "No task is in all rows by one metric, so rows are not held against each other."
    elif len(common) < len(tasks):
        yield (
            f"Rows do not have the same tasks: means are over a row's own, differences over the "
            f"{len(common)} of {len(tasks)} that all rows have."
        )


def _seeds(study: Study) -> Iterator[str]:
    baseline = study.baseline
    if lone := [row.name for row in study.rows if len(row.runs) == 1]:
        which = "every row" if len(lone) == len(study.rows) > 1 else ", ".join(lone)
        yield f"One seed, so no spread and no interval: {which}."
    apart = [row.name for row in study.rows if row.means().keys() != baseline.means().keys()]
    if apart:
        yield (
            f"Not the seeds of {baseline.name}, so only the seeds of both are compared: "
            f"{', '.join(apart)}."
        )
