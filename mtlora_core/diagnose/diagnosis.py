"""A run folder becomes a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..finished import read_run
from ..model import MultiTaskModel
from ..registry import Registry
from ..shortage import explained
from .conflicts import Conflict, measure_conflicts
from .probe import BATCH_SIZE, Probe
from .spectra import Alignment, Spectrum, alignments, experts_of, spectrum, tasks_of
from .usage import Usage, measure_usage


@dataclass(frozen=True)
class Diagnosis:
    """What was measured of a model."""

    name: str
    """Of its recipe."""
    tasks: Sequence[str]
    usage: Sequence[Usage]
    """Of every site with a router."""
    spectra: Mapping[str, Spectrum]
    """Of the experts of every site."""
    between_experts: Sequence[Alignment]
    between_tasks: Sequence[Alignment]
    """Of the tasks' own mixes; none where tasks have none."""
    conflicts: Sequence[Conflict]
    """None where tasks share no parameter."""
    examples: int
    draws: int
    drawn: int
    """Examples of each task in a draw."""


def diagnose(
    folder: str | Path,
    *,
    examples: int = 64,
    draws: int = 32,
    drawn: int = 4,
    device: str | None = None,
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
) -> Iterator[dict[str, Any] | Diagnosis]:
    """Measure a finished run's adapters; yield phases, notes, and last the diagnosis.

    Args:
        folder: The run folder.
        examples: Of each task, at most, whose routing is looked at; of the validation split.
        draws: Batches whose task gradients are compared; of the training split.
        drawn: Examples of each task in such a batch.
        device: Such as ``cpu`` or ``cuda:1``; None takes the best there is.
        overrides: Changes of its recipe, such as ``tasks.root=DIR`` of data that has moved.
        registry: The parts; None discovers those installed.

    Raises:
        MtloraError: the folder is no finished run, a part is not installed, the tasks' data
            cannot be read, or memory ran out.
    """
    yield {"event": "phase", "name": "loading the run"}
    run = read_run(folder, overrides=overrides, registry=registry, data=True)
    yield from ({"event": "note", "text": notice} for notice in run.plan.notices)
    recipe, data = run.plan.recipe, run.data()
    model = run.model(device)
    yield {"event": "phase", "name": "measuring the routing"}
    with explained(*_forward(model, min(examples, BATCH_SIZE))):
        usage = measure_usage(Probe(model, data, "validation", recipe.seed), examples)
    yield {"event": "phase", "name": "decomposing the experts"}
    spectra = {a.site.name: spectrum(experts_of(a.experts)) for a in model.adapters}
    mixes = _mixes(model, usage)
    yield {"event": "phase", "name": "comparing the gradients of tasks"}
    with explained(*_backward(model, drawn)):
        conflicts = measure_conflicts(Probe(model, data, "train", recipe.seed), draws, drawn)
    yield Diagnosis(
        name=recipe.name,
        tasks=[task.name for task in model.tasks],
        usage=usage,
        spectra=spectra,
        between_experts=alignments([*spectra.values()]),
        between_tasks=alignments(mixes),
        conflicts=conflicts,
        examples=examples,
        draws=draws,
        drawn=drawn,
    )


def _forward(model: MultiTaskModel, examples: int) -> tuple[str, str]:
    """Return what runs out of memory where routing is measured, and what to try."""
    where = f"measuring the routing: out of memory with {examples} examples in a forward"
    return where, _fewer(model, "examples", examples)


def _backward(model: MultiTaskModel, drawn: int) -> tuple[str, str]:
    """Return what runs out of memory where gradients are compared, and what to try."""
    where = (
        f"comparing the gradients of tasks: out of memory with {drawn} examples of each of "
        f"{len(model.tasks)} tasks in a backward pass"
    )
    return where, _fewer(model, "drawn", drawn)


def _fewer(model: MultiTaskModel, option: str, count: int) -> str:
    fewer = [f"--{option} {count // 2}"] * (count > 1)
    elsewhere = "a machine with more" if model.device.type == "cpu" else "--device cpu"
    return ", or ".join([*fewer, elsewhere])


def _mixes(model: MultiTaskModel, usage: Sequence[Usage]) -> list[Spectrum]:
    """Return the spectra of every task's own B, at the sites where a router mixes them."""
    by_site = {own.site: own for own in usage}
    return [
        spectrum(tasks_of(adapter.experts, by_site[adapter.site.name]))
        for adapter in model.adapters
        if adapter.site.name in by_site
    ]
