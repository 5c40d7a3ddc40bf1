"""A plan becomes a run folder: composed, trained, scored once, saved."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .compose import compose, load_tasks
from .conflicts import conflict_rates
from .device import peak_memory
from .errors import RecipeError, RunFolderError
from .groups import count_shared
from .lock import differences, make_lock
from .model import MultiTaskModel
from .registry import relay
from .resolve import Plan
from .runfolder import RunFolder
from .tasks import TaskData
from .tensors import digest
from .tracking import Tracking, tracked
from .train import checkpoint
from .train.baselines import Baseline, baselines
from .train.corpus import Corpus
from .train.engine import Engine, make_engine
from .train.evaluate import split_table
from .train.judging import unreachable
from .train.loop import advance, keep
from .train.session import Session, start, total_steps

Event = dict[str, Any]
Emit = Callable[[Event], Event]
"""Records an event, and returns it."""
Rows = dict[str, dict[str, Any]]
"""What is known of each task's scores."""

BESIDE = ("majority", "tfidf", "heads", "untrained")
"""What may stand beside a task's score: :class:`Baseline`'s fields, and the answers of the
backbone of a causal task before training."""


def run(
    plan: Plan,
    folder: str | Path,
    *,
    device: str | None = None,
    steps: int | None = None,
    resume: bool = False,
    locked: bool = False,
) -> Iterator[Event]:
    """Compose, train, evaluate and save; yield what happens.

    Args:
        plan: What to run; with ``resume``, what :func:`plan_of` returns.
        folder: The run folder: free, or with ``resume`` an unfinished run's.
        device: Such as ``cpu`` or ``cuda:1``; None takes the best there is.
        steps: Optimizer steps instead of the recipe's.
        resume: Go on from the folder's checkpoint.
        locked: Refuse any difference from the folder's lock.

    Yields:
        ``started``, ``phase``, ``step``, ``evaluated`` and ``finished`` events. All but phases
        are also the lines of ``metrics.jsonl``.

    Raises:
        MtloraError: bad input, before anything is written; or a run that could not go on, whose
            last good checkpoint is kept.
    """
    begun = perf_counter()
    home = RunFolder(folder)
    engine = make_engine(plan.recipe.train.precision, device)
    if not resume and engine.is_main:
        home.require_free()
    elif resume and (finished := [e for e in home.records() if e["event"] == "finished"]):
        yield finished[-1]
        return
    plan = _with_steps(plan, steps, resume)
    yield _phase("reading the tasks")
    data = load_tasks(plan)
    yield _phase("loading the backbone")
    model = compose(plan, data)
    options, seed = plan.recipe.train, plan.recipe.seed
    session = start(model, data, options, seed=seed, engine=engine, measure=plan.recipe.measure)
    with _held(home, engine) as ours:
        notices = _opened(home, plan, data, engine, resume, locked) if ours else []
        engine.wait()
        with _under_way(session, home, plan, resume) as emit:
            notices += unreachable(session.validation, plan.recipe.evaluate)
            yield emit(_started(session, home, data, notices))
            yield from _train(session, home, emit)
            keep(session)
            if ours:
                home.write_adapter(model, plan.to_json())
            rows = yield from _scored(session, plan, data)
            conflicts = _conflicts(plan, home) if ours else {}
            yield emit(_finished(session, rows, perf_counter() - begun) | conflicts)


def describe(plan: Plan) -> dict[str, Any]:
    """Return what a run of ``plan`` would be; shapes only, no weights are read.

    Raises:
        MtloraError: the tasks cannot be read, or the parts do not fit.
    """
    data = load_tasks(plan)
    model = compose(plan, data, meta=True)
    train = Corpus(model.backbone, data, "train")
    return {
        **plan.describe(),
        "parameters": count_parameters(model),
        "rows": _row_sizes(plan, model),
        "tasks": _task_rows(data, train),
        "steps": total_steps(plan.recipe.train, [len(each.train) for each in data]),
    }


def count_parameters(model: MultiTaskModel) -> dict[str, int]:
    """Return how many parameters are trained, by kind, and how many there are in all."""
    adapters = sum(p.numel() for p in model.adapters.parameters())
    heads = sum(p.numel() for p in model.heads.parameters())
    frozen = sum(p.numel() for p in model.backbone.parameters())
    trained = adapters + heads
    return {"trainable": trained, "total": trained + frozen, "adapters": adapters, "heads": heads}


def _row_sizes(plan: Plan, model: MultiTaskModel) -> dict[str, int]:
    """Return how many tasks a step may have, and over how many parameters each has a row."""
    tasks = min(len(model.tasks), plan.recipe.train.batch_size)
    return {"tasks": tasks, "parameters": count_shared(model.adapters)}


@contextmanager
def free_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make ``parent/name``, or the first of ``name-2``, ``name-3``, … that nothing is at.

    Of two processes each gets its own. A folder that stays empty goes again.

    Raises:
        RunFolderError: the system refuses.
    """
    folder = _made(parent / name) or next(
        made for number in count(2) if (made := _made(parent / f"{name}-{number}"))
    )
    try:
        yield folder
    finally:
        with suppress(OSError):  # it is in use
            folder.rmdir()


def _made(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return None
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


def _with_steps(plan: Plan, steps: int | None, resume: bool) -> Plan:
    if steps is None:
        return plan
    if resume:
        raise RecipeError("--steps: a run that goes on keeps its recipe's steps")
    train = plan.recipe.train.model_copy(update={"steps": steps, "epochs": None})
    return replace(plan, recipe=plan.recipe.model_copy(update={"train": train}))


@contextmanager
def _held(home: RunFolder, engine: Engine) -> Iterator[bool]:
    """Keep the folder to this run; give whether this is the process that writes to it."""
    with home.held() if engine.is_main else nullcontext():
        yield engine.is_main


def _opened(
    home: RunFolder,
    plan: Plan,
    data: Sequence[TaskData],
    engine: Engine,
    resume: bool,
    locked: bool,
) -> list[str]:
    """Write what a new run is, or compare with what it was; return what is worth saying."""
    lock = make_lock(plan, data, engine.device)
    if not resume:
        home.create(plan.to_json(), lock)
        return []
    found = differences(home.read_lock(), lock)
    different = [line for line in found if line.startswith("data.")]
    if different or (locked and found):
        reason = "is locked" if locked else "needs the data it began with"
        raise RunFolderError(
            [f"{home.lock}: the run {reason}: {line}" for line in different or found]
        )
    return [f"since the run began, {line}" for line in found]


def _restore(session: Session, home: RunFolder) -> None:
    """Bring the session to the last checkpoint, or to the start where there is none yet."""
    size = 0
    if (home.checkpoint / checkpoint.NAME).exists():
        size = checkpoint.restore(session, home.checkpoint)["metrics_size"]
    if session.engine.is_main:
        home.cut_metrics(size)


def _train(session: Session, home: RunFolder, emit: Emit) -> Iterator[Event]:
    """Yield the training's records, with a checkpoint after those that are due for one."""
    every = session.options.save_every
    for event in advance(session):
        yield emit(event)
        step = session.progress.step
        due = step % every == 0 and not session.due if every else False
        if (due or event["event"] == "evaluated") and session.engine.is_main:
            checkpoint.save(session, home.checkpoint, {"metrics_size": home.metrics_size()})


@contextmanager
def _under_way(session: Session, home: RunFolder, plan: Plan, resume: bool) -> Iterator[Emit]:
    """Bring the session to where the run was, and say what takes its events."""
    if resume:
        _restore(session, home)
    if not session.engine.is_main:
        yield lambda event: event
        return
    with tracked(plan.recipe.track, home, plan.to_json(), session.progress.step) as tracking:
        yield _emitter(home, plan, tracking)


def _emitter(home: RunFolder, plan: Plan, tracking: Tracking) -> Emit:
    """Return what records an event and tells whoever the recipe names."""
    observers = relay(plan.observers)
    hooks = {
        "step": observers.mtlora_step,
        "evaluated": observers.mtlora_evaluated,
        "finished": observers.mtlora_run_finished,
    }

    def emit(event: Event) -> Event:
        home.record(event)
        tracking.log(event)
        if event["event"] == "started":
            observers.mtlora_run_started(folder=home.path, recipe=plan.to_json())
        else:
            hooks[event["event"]](folder=home.path, record=event)
        return event

    return emit


def _phase(name: str) -> Event:
    return {"event": "phase", "name": name}


def _started(
    session: Session, home: RunFolder, data: Sequence[TaskData], notices: Sequence[str]
) -> Event:
    return {
        "event": "started",
        "folder": str(home.path),
        "device": str(session.engine.device),
        "processes": session.engine.processes,
        "steps": session.steps,
        "resumed_at": session.progress.step,
        "parameters": count_parameters(session.model),
        "tasks": _task_rows(data, session.train),
        "notices": list(notices),
    }


def _task_rows(data: Sequence[TaskData], train: Corpus) -> dict[str, dict[str, Any]]:
    return {
        each.task.name: {
            "objective": each.task.objective,
            "metric": each.task.metric,
            "classes": len(each.task.labels),
            **{split: len(examples) for split, examples in each.splits()},
            "truncated": truncated,
        }
        for each, truncated in zip(data, train.truncated, strict=True)
    }


def _baselines(plan: Plan, session: Session, data: Sequence[TaskData]) -> dict[str, Baseline]:
    """Score what any adapter has to beat, on the backbone without its adapters."""
    model = session.model
    options = plan.backbone.options.model_dump_json()
    weights = digest(dict(model.backbone.state_dict()))
    key = f"{plan.backbone.package}/{plan.backbone.version}/{options}/{weights}"
    model.adapters.detach()
    try:
        device, size = session.engine.device, plan.recipe.evaluate.batch_size
        return baselines(model.backbone, key, data, device, batch_size=size)
    finally:
        model.adapters.attach(model.backbone.module)


def _untrained(session: Session, data: Sequence[TaskData]) -> dict[str, dict[str, Any]]:
    """Score causal tasks without the adapters: what the backbone can answer untrained."""
    model = session.model
    causal = [each.task.name for each in data if each.task.objective == "causal"]
    if not causal:
        return {}
    model.adapters.detach()
    try:
        rows = split_table(model, data, "test", session.engine, session.seed)
    finally:
        model.adapters.attach(model.backbone.module)
    return {name: rows[name] for name in causal}


def _conflicts(plan: Plan, home: RunFolder) -> Event:
    """Return how often tasks conflicted over the whole run, where that was measured."""
    if plan.recipe.measure.conflicts is None:
        return {}
    found = conflict_rates(home.records(), seed=plan.recipe.seed)
    return {"conflicts": found} if found else {}


def _scored(session: Session, plan: Plan, data: Sequence[TaskData]) -> Generator[Event, None, Rows]:
    """Score the test split, unless the recipe leaves it alone; return the tasks' rows."""
    if not plan.recipe.evaluate.test:
        return {}
    yield _phase("scoring the test split")
    rows = split_table(session.model, data, "test", session.engine, session.seed)
    yield _phase("fitting the baselines")
    untrained = _untrained(session, data)
    main = session.engine.is_main
    beside = _beside(_baselines(plan, session, data) if main else {}, untrained)
    return {name: {**row, **beside.get(name, {})} for name, row in rows.items()}


def _beside(
    baselines: Mapping[str, Baseline], untrained: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what stands beside each task's score; what a task has not is left out."""
    rows = {
        name: {column: value for column, value in vars(own).items() if value is not None}
        for name, own in baselines.items()
    }
    for name, row in untrained.items():
        rows[name] = {**rows.get(name, {}), "untrained": row["value"], "before": row["metrics"]}
    return rows


def _finished(session: Session, rows: Rows, seconds: float) -> Event:
    columns = {"model": "value", **{name: name for name in BESIDE}} if rows else {}
    return {
        "event": "finished",
        "step": session.progress.step,
        "best_step": session.progress.best_step,
        "best_mean": session.progress.best_mean,
        "stopped_early": session.stopped_early,
        "seconds": seconds,
        "training_seconds": session.progress.seconds,
        "memory": peak_memory(session.engine.device),
        "mean": {
            column: float(np.mean([row[key] for row in rows.values()]))
            for column, key in columns.items()
            if all(key in row for row in rows.values())
        },
        "test": rows,
    }
