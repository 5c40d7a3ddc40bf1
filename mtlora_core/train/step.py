"""One optimizer step, in the order that keeps every variant exact.

Counts first, so that each forward knows its share of the step; then the backward passes, of
losses as a weighting weighs them; sums over processes; unscale; clip; step; and what routers learn
from their load, and a weighting from the losses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ..errors import TrainingError
from ..interfaces import StepRouting
from ..seeds import derive
from ..shortage import explained
from .corpus import Batch, Pick
from .engine import Engine
from .gradients import TaskRows, conflicts, sum_gradients
from .memory import undoing
from .objectives import example_losses, shares
from .optimizer import set_rate
from .session import Session
from .statistics import RoutingStatistics, learns_from_load, teach
from .tally import Tally
from .weighing import Weighing

ROUTING_EVERY = 10
"""Steps between records of the routers' load and entropy."""
SMALLEST_SCALE = 2.0**-10
"""Of fp16's losses: what overflows below it has no finite gradient at all."""


def take_step(session: Session) -> dict[str, Any]:
    """Take the session's next optimizer step and return its record.

    Raises:
        TrainingError: a loss or the gradient is not finite, or memory ran out. The model is
            then as it was before the step, unless it ran out in the midst of the optimizer's.
    """
    begun, model, progress = perf_counter(), session.model, session.progress
    model.train()
    rate = set_rate(session.optimizer, session.options, progress.step, session.steps)
    rank = session.engine.rank
    torch.manual_seed(derive(session.seed, "dropout", progress.step, rank))
    step = _Step(session, session.picks())
    with _cleared(session), undoing(model.adapters) as undo:
        with explained(*_forwards(session)):
            step.accumulate()
        with explained(*_rows_and_moments(session)):
            sums = step.sums()
            _refuse_not_finite(session, sums)
            norm = _update(session, step.rows)
    if math.isfinite(norm):
        step.weighing.learn()
    else:  # in fp16, which left the step out
        undo()
    routing = step.statistics.finish(session.engine)
    teach(model.adapters, routing)
    progress.step += 1
    seconds = perf_counter() - begun
    progress.seconds += seconds
    return {
        "event": "step",
        "step": progress.step,
        "epoch": progress.step / session.per_epoch,
        **step.losses(sums),
        **step.weights(),
        "learning_rate": rate,
        "gradient_norm": norm,
        "tokens": round(sums["tokens"]),
        "tokens_per_second": sums["tokens"] / seconds,
        "data_wait": step.waited / seconds,
        "seconds": seconds,
        "seconds_left": progress.seconds / progress.step * (session.steps - progress.step),
        **({"routing": _routing(routing)} if routing else {}),
        **step.conflicts(),
    }


class _Step:
    """The forwards and backwards of one step, and what they add up to."""

    def __init__(self, session: Session, picks: Sequence[Pick]) -> None:
        tasks = session.model.tasks
        self.session = session
        self.picks = picks
        self.tasks = {task.name: task for task in tasks}
        self.task_ids = tuple(sorted({pick.task for pick in picks}))
        self.counts = Counter(tasks[t].name for t in sorted(pick.task for pick in picks))
        self.average = session.options.loss.average
        self.factors = shares(self.average, self._units(), tasks)
        self.tally = Tally()
        every_step = learns_from_load(session.model.adapters)
        observed = every_step or (session.progress.step + 1) % ROUTING_EVERY == 0
        self.statistics = RoutingStatistics(session.model.adapters, observed)
        self.measures = session.measures_conflicts
        self.weighing = self._weighing()
        self.rows = self._rows()
        self.waited = 0.0

    def _weighing(self) -> Weighing:
        session = self.session
        return Weighing(
            session.model.adapters.weighting,
            self.task_ids,
            lambda: self.means,
            epoch=session.progress.step // session.per_epoch,
            seed=derive(session.seed, "weighting", session.progress.step),
        )

    def _rows(self) -> TaskRows | None:
        """Return what collects the step's task gradients, for a transform or to be measured."""
        session = self.session
        if session.model.adapters.transform is None and not self.measures:
            return None
        return TaskRows(
            session.model.adapters,
            self.task_ids,
            seed=derive(session.seed, "transform", session.progress.step),
            forwards=session.options.accumulate,
            losses=lambda: self.means,
            engine=session.engine,
            scale=session.scaler.get_scale(),
        )

    def _units(self) -> Counter[str]:
        """Return as how many the examples of each task count, over all processes."""
        units: Counter[str] = Counter()
        for pick in self.picks:
            name = self.session.model.tasks[pick.task].name
            units[name] += self.session.train.units(pick, self.average)
        return units

    def accumulate(self) -> None:
        """Add the gradients of every forward of this process, by task where that is wanted."""
        options, engine = self.session.options, self.session.engine
        with nullcontext() if self.rows is None else self.rows.collecting():
            for part in _parts(self.picks, options.accumulate, engine):
                self._accumulate(part)
            # Also on a process that a small step leaves without a forward: weights of the step's
            # own losses are made of all processes'.
            self.weighing.weights()

    def _accumulate(self, part: Sequence[Pick]) -> None:
        asked, session = perf_counter(), self.session
        # Task by task, so that the rows of one are together; in the same order with and without
        # a transform, so that dropout masks are the same; not on CUDA, which draws them by call,
        # for parts that then run once for each task.
        picks = sorted(part, key=lambda pick: pick.task)
        batch = session.train.batch(picks, self.average)
        self.waited += perf_counter() - asked
        losses, penalties = self._weighed(self._task_losses(batch)), self._penalties(batch)
        if self.rows is not None and session.model.adapters.transform is None:
            # No task's: under a transform it is cut off from the rows, here from what is measured.
            apart = [penalty for penalty in penalties if penalty.requires_grad]
            if apart:
                self.rows.add_untasked(session.scaler.scale(torch.stack(apart).sum()))
            penalties = []
        session.scaler.scale(torch.stack([*losses, *penalties]).sum()).backward()

    def _task_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run a forward; return each task's part of the step's loss, unweighted."""
        session = self.session
        device = session.engine.device
        with session.engine.autocast():
            outputs = session.model(batch.inputs.to(device), batch.task_ids)
        labels, units = batch.labels.float().to(device), batch.units.float().to(device)
        parts = {}
        for name, output in outputs.items():
            losses = example_losses(self.tasks[name], output.outputs, labels[output.rows])
            self.tally.add(f"loss {name}", losses.sum())
            parts[name] = self.factors[name] * (units[output.rows] * losses).sum()
        self.tally.add("tokens", torch.tensor(float(batch.tokens)))
        self.statistics.add(batch.tokens)
        return parts

    def _weighed(self, parts: Mapping[str, Tensor]) -> list[Tensor]:
        """Return parts of the step's loss, each times its task's weight."""
        weights = dict(zip(self.counts, self.weighing.weights(), strict=True))
        weighed = [weights[name] * part for name, part in parts.items()]
        for part in weighed:
            self.tally.add("total", part)
        return weighed

    def _penalties(self, batch: Batch) -> list[Tensor]:
        """Return the penalties on the last forward, by its share of the step's examples."""
        share = len(batch.task_ids) / len(self.picks)
        terms = []
        for name, penalty in self.session.model.adapters.penalty_terms().items():
            self.tally.add(f"penalty {name}", share * penalty)
            terms.append(share * penalty)
        return terms

    @cached_property
    def means(self) -> Tensor:
        """Each present task's mean loss, ``[T]``, over all forwards and processes.

        Asked for after the last forward, by all processes alike.
        """
        totals = self.tally.totals([f"loss {n}" for n in self.counts], self.session.engine)
        return totals / totals.new_tensor([*self.counts.values()])

    def weights(self) -> dict[str, Any]:
        """Return what the record says of weights, where a weighting or a transform makes some."""
        found: dict[str, Any] = {}
        if self.weighing.weighting is not None:
            found["weights"] = dict(zip(self.counts, self.weighing.weights(), strict=True))
        if self.rows is not None and (given := self.rows.weights()):
            found["gradient_weights"] = dict(zip(self.counts, given, strict=True))
        return found

    def conflicts(self) -> dict[str, Any]:
        """Return what the record says of conflicts, where this step measures them."""
        if self.rows is None or not self.measures:
            return {}
        found = conflicts(self.session.model.adapters, self.rows.gramians, self.rows.axis.tasks)
        return {} if found is None else {"conflicts": found}

    def sums(self) -> dict[str, float]:
        """Return the step's sums over forwards and processes."""
        penalties = (p.name for p in self.session.model.adapters.penalties)
        names = [f"loss {n}" for n in self.counts] + [f"penalty {n}" for n in penalties]
        return self.tally.finish([*names, "total", "tokens"], self.session.engine)

    def losses(self, sums: Mapping[str, float]) -> dict[str, Any]:
        """Return the record's losses: the step's, each task's mean, each penalty's."""
        penalties = {
            name.removeprefix("penalty "): value
            for name, value in sums.items()
            if name.startswith("penalty ")
        }
        return {
            "loss": sums["total"] + sum(penalties.values()),
            "losses": {name: sums[f"loss {name}"] / n for name, n in self.counts.items()},
            "penalties": penalties,
        }


def _parts(picks: Sequence[Pick], accumulate: int, engine: Engine) -> Iterator[Sequence[Pick]]:
    """Yield this process's forwards of a step; a small last step may have fewer."""
    total = accumulate * engine.processes
    for forward in range(accumulate):
        if part := picks[forward * engine.processes + engine.rank :: total]:
            yield part


def _update(session: Session, rows: TaskRows | None) -> float:
    """Sum, transform, unscale and clip the gradients, then step; return their norm unclipped."""
    parameters = [p for group in session.optimizer.param_groups for p in group["params"]]
    sum_gradients(parameters, session.engine)
    if rows is not None:
        rows.finish()
    session.scaler.unscale_(session.optimizer)
    norm = float(clip_grad_norm_(parameters, session.options.clip or math.inf))
    if not math.isfinite(norm):
        _refuse_hopeless(session, norm)
    session.scaler.step(session.optimizer)
    session.scaler.update()
    return norm


def _refuse_hopeless(session: Session, norm: float) -> None:
    """Raise unless a smaller scale of fp16, which leaves this step out, may be all it takes."""
    scaler, where = session.scaler, f"step {session.progress.step + 1}: the gradient is {norm}"
    if not scaler.is_enabled():
        raise TrainingError(f"{where}; try a lower train.learning_rate")
    if scaler.get_scale() < SMALLEST_SCALE:
        raise TrainingError(
            f"{where}, however small the scale of fp16; try train.precision=bf16 or fp32, or a "
            "lower train.learning_rate"
        )


def _refuse_not_finite(session: Session, sums: Mapping[str, float]) -> None:
    bad = [n for n, value in sums.items() if n != "total" and not math.isfinite(value)]
    if not bad:
        return
    kinds = {"loss": "the loss of task", "penalty": "the penalty"}
    lines = []
    for name in bad:
        kind, _, what = name.partition(" ")
        lines.append(
            f"step {session.progress.step + 1}: {kinds[kind]} {what!r} is {sums[name]}; "
            "try a lower train.learning_rate, or train.clip where it is off"
        )
    raise TrainingError(lines)


def _routing(routing: Mapping[str, StepRouting]) -> dict[str, Any]:
    return {
        site: {"entropy": each.entropy, "load": each.load.tolist()}
        for site, each in routing.items()
    }


@contextmanager
def _cleared(session: Session) -> Iterator[None]:
    """Leave no gradients behind, however the step ends."""
    try:
        yield
    finally:
        session.optimizer.zero_grad(set_to_none=True)


def _forwards(session: Session) -> tuple[str, str]:
    """Return what may run out of memory in the forwards and backwards, and what helps."""
    options = session.options
    return (
        f"step {session.progress.step + 1}: out of memory with train.batch_size "
        f"{options.batch_size} in {options.accumulate} forward(s)",
        f"--set train.accumulate={2 * options.accumulate} (the same result in less "
        f"memory), --set train.batch_size={max(options.batch_size // 2, 1)}, or "
        "--set train.checkpointing=true",
    )


def _rows_and_moments(session: Session) -> tuple[str, str]:
    """Return what may run out of memory in the update, and what helps."""
    where = f"step {session.progress.step + 1}: out of memory in the update of the parameters"
    transform = session.model.adapters.transform
    if transform is None:
        return where, "fewer of them: a lower experts.rank or experts.count, or a smaller placement"
    return (
        f"{where}, with the gradients of {len(session.model.tasks)} tasks",
        f"scope: per-matrix for {transform.name!r} with train.accumulate=1, which keeps no rows of "
        "all parameters, or a lower experts.rank",
    )
