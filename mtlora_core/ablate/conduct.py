"""An ablation is run from its first tuning run to its table."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from ..declared import options_class
from ..execution import Executor, Processes, threads_each
from ..history import History
from ..recipe import PartSpec, validated
from ..registry import Registry
from .cells import Cell
from .choosing import Choice, trial_of
from .folder import AblationFolder
from .planned import Planned
from .results import outcome_of, results_of, save
from .schedule import Event, Schedule
from .study import Study


def executor_of(
    spec: PartSpec | None, registry: Registry, *, jobs: int, home: AblationFolder
) -> Executor:
    """Return what runs cells; without a part, the processes of this machine.

    Raises:
        MtloraError: the part is not installed, or its options are not right.
    """
    if spec is None:
        return Processes(threads_each(jobs))
    installed = registry.get("executor", spec.use)

    def where(*keys: str | int) -> str:
        return ".".join(map(str, ("executor", *keys)))

    origin = installed.origin
    with origin.calling("its options"):
        options = validated(options_class(installed), dict(spec.options), where)
    executor: Executor = origin.build(
        installed.component.build, Executor, options, jobs=jobs, folder=home.path / "jobs"
    )
    return executor


def conduct(study: Study, schedule: Schedule) -> Generator[Event, None, None]:
    """Run an ablation; yield what happens, and at the end ``results``.

    Raises:
        MtloraError: nothing could be run; a cell that fails is an event and no error.
    """
    schedule.home.prepare()
    choices: dict[str, Choice] = {}
    if study.options.tune is not None:
        yield from schedule.run([cell for row in study.rows for cell in _trials(study, row)])
        for row in study.rows:
            yield from _chosen(study, row, schedule, choices)
    cells = {row.name: _cells(study, row, choices.get(row.name)) for row in study.rows}
    table = _Table(study, schedule, cells, choices)
    # A seed of every row before the next one: whatever is left compares all rows by some seeds.
    order = sorted(chain(*cells.values()), key=lambda cell: study.seeds.index(cell.seed))
    with closing(schedule.run(order)) as events:
        for event in events:
            if event.get("state") == "finished" and not event["again"]:
                table.save()  # a report can be made while others run, and after a kill
            yield event
    yield table.told()


@dataclass(frozen=True)
class _Table:
    """What was found up to now."""

    study: Study
    schedule: Schedule
    cells: Mapping[str, Sequence[Cell]]
    """Of each row."""
    choices: Mapping[str, Choice]

    @cached_property
    def histories(self) -> Mapping[str, History]:
        """The stories of all cells, of which only what is new is read each time."""
        return {
            cell.name: History(self.schedule.home.run(cell).metrics)
            for cell in chain(*self.cells.values())
        }

    def save(self) -> dict[str, Any]:
        """Write it to the ablation's folder, and return it."""
        study, home = self.study, self.schedule.home
        outcomes = [
            outcome_of(row, self.cells[row.name], self.choices.get(row.name), self.histories)
            for row in study.rows
        ]
        found = results_of(study, outcomes, home, self.schedule.failed)
        save(found, outcomes, home)
        return found

    def told(self) -> Event:
        """Return it after it was saved, with what is left to do."""
        left = {cell.name for cell in self.schedule.left}
        undecided = [
            row.name
            for row in self.study.rows
            if any(cell.name in left for cell in _trials(self.study, row))
        ]
        more = {"left": sorted(left), "undecided": undecided}
        folder = str(self.schedule.home.path)
        return {"event": "results", "folder": folder, **self.save(), **more}


def _trials(study: Study, row: Planned) -> list[Cell]:
    return [cell for candidate in row.candidates for cell in study.trials(row, candidate)]


def _chosen(
    study: Study, row: Planned, schedule: Schedule, choices: dict[str, Choice]
) -> Iterator[Event]:
    """Choose for a row whose tuning runs have all ended; one that failed is not chosen."""
    cells = _trials(study, row)
    ended = {*schedule.finished, *schedule.failed}
    if not all(cell.name in ended for cell in cells):
        return
    trials = [trial_of(each, study.trials(row, each), schedule.home) for each in row.candidates]
    choice = choices[row.name] = Choice(row.name, trials)
    yield {"event": "chosen", "row": row.name, **choice.to_json()}


def _cells(study: Study, row: Planned, choice: Choice | None) -> list[Cell]:
    if study.options.tune is None:
        return study.cells(row, row.plan)
    best = choice.best if choice else None
    return study.cells(row, best.candidate.plan) if best else []
