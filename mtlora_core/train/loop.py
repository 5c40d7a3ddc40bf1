"""The training loop. It yields records; logging, saving and progress bars are the consumer's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

from ..model import MultiTaskModel
from ..recipe import MeasureOptions, TrainOptions
from ..tasks import TaskData
from .engine import make_engine
from .evaluate import mean_loss, mean_selected, score_split
from .session import Session, start
from .step import take_step


def fit(
    model: MultiTaskModel,
    data: Sequence[TaskData],
    options: TrainOptions,
    *,
    seed: int = 0,
    device: str | None = None,
    measure: MeasureOptions | None = None,
) -> Iterator[dict[str, Any]]:
    """Train ``model`` and yield what happens; afterwards it holds the weights that are kept.

    Args:
        model: What ``compose`` made.
        data: The tasks the model was composed with, in the same order.
        options: The recipe's ``train``.
        seed: Decides the order of the examples and the dropout masks.
        device: Such as ``cpu`` or ``cuda:1``; None takes the best there is.
        measure: The recipe's ``measure``, what records of steps have beside losses; None: nothing.

    Yields:
        A record of every step (``event: step``) and of every validation (``event: evaluated``).

    Raises:
        TrainingError: a loss or the gradient is not finite, or memory ran out.
    """
    engine = make_engine(options.precision, device)
    session = start(model, data, options, seed=seed, engine=engine, measure=measure)
    yield from advance(session)
    keep(session)


def advance(session: Session) -> Iterator[dict[str, Any]]:
    """Take a session to its end. Between two records it is whole and may be saved."""
    while True:
        if session.due:
            yield _validate(session)
        if session.finished:
            return
        yield take_step(session)


def keep(session: Session) -> None:
    """Give the model the weights that ``train.keep`` names."""
    if session.options.keep == "best" and session.best is not None:
        session.model.load_trained_state(session.best)
    session.model.eval()


def _validate(session: Session) -> dict[str, Any]:
    begun, progress = perf_counter(), session.progress
    scores = score_split(session.model, session.validation, session.engine)
    mean = mean_selected(session.model.tasks, scores, session.model.answering)
    # Of answers that are all right or all wrong alike, the likelier ones are better.
    loss = mean_loss(scores)
    best = (mean, -loss) > (progress.best_mean, -progress.best_loss)
    if best:
        progress.best_mean, progress.best_loss = mean, loss
        progress.best_step, progress.waited = progress.step, 0
        state = session.model.trained_state()
        session.best = {name: value.detach().cpu().clone() for name, value in state.items()}
    else:
        progress.waited += 1
    progress.evaluated_at = progress.step
    progress.seconds += perf_counter() - begun
    return {
        "event": "evaluated",
        "step": progress.step,
        "split": "validation",
        "mean": mean,
        "tasks": scores,
        "best": best,
    }
