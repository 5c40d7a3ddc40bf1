"""Scores of a model on a split of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model import MultiTaskModel
from ..recipe import EvaluateOptions
from ..shortage import explained
from ..tasks import Split, Task, TaskData
from .corpus import Corpus, Pick
from .engine import Engine
from .judging import Judgement, judged
from .metrics import interval, primary, score, wilson

SINGLE = (
    "scoring: out of memory with a single example",
    "a lower backbone.max_length or evaluate.max_new_tokens",
)
"""What a batch that was halved until it fits nowhere says."""

Columns = Mapping[str, NDArray[Any]]
"""What is known of a task's answers, ``[n]`` each, by the names of :data:`Judgement`."""


def judgements(
    model: MultiTaskModel, corpus: Corpus, engine: Engine, *, selecting: bool = False
) -> list[Columns]:
    """Answer every example of every task; return what is known of the answers, by task.

    The examples are shared out over the processes, and every process gets all the answers.

    Args:
        model: On the engine's device.
        corpus: The examples.
        engine: Shares the examples out.
        selecting: Whether only what selects a step is wanted, and not every metric.
    """
    picks = [Pick(t, i) for t, rows in enumerate(corpus.encoded) for i in range(len(rows))]
    own = picks[engine.rank :: engine.processes]
    with engine.autocast(), explained(*SINGLE):
        given = judged(model, corpus, own, selecting=selecting)
    gathered = dict(engine.gather([*zip(own, given, strict=True)]))
    return [
        _columns([gathered[Pick(t, i)] for i in range(len(rows))])
        for t, rows in enumerate(corpus.encoded)
    ]


def score_split(
    model: MultiTaskModel, corpus: Corpus, engine: Engine
) -> dict[str, dict[str, float]]:
    """Return what selects a step: the metrics of every task's objective, by task."""
    found = judgements(model, corpus, engine, selecting=True)
    return {corpus.tasks[t].name: _metrics(corpus, t, own) for t, own in enumerate(found)}


def split_table(
    model: MultiTaskModel,
    data: Sequence[TaskData],
    split: Split,
    engine: Engine,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return a row for each task: the primary metric, its 95 % interval, and all metrics.

    Args:
        model: In eval mode or not; on the engine's device.
        data: The tasks the model was composed with.
        split: Which examples.
        engine: Shares the examples out.
        seed: Of the bootstrap.
    """
    corpus = Corpus(model.backbone, data, split)
    rows = {}
    for t, columns in enumerate(judgements(model, corpus, engine)):
        task, metrics = corpus.tasks[t], _metrics(corpus, t, columns)
        low, high = _interval(corpus, t, columns, seed)
        rows[task.name] = {
            "metric": task.metric,
            "value": primary(task, metrics),
            "low": low,
            "high": high,
            "count": len(corpus.examples[t]),
            "metrics": metrics,
        }
    return rows


def mean_selected(
    tasks: Sequence[Task], scores: Mapping[str, Mapping[str, float]], how: EvaluateOptions
) -> float:
    """Return the mean over tasks of what selects a step; higher is better.

    That is the primary metric, or for causal tasks under ``select: loss`` the loss, negated.
    """
    return float(np.mean([_selected(task, scores[task.name], how) for task in tasks]))


def mean_loss(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Return the mean over causal tasks of the loss; 0 where there are none."""
    losses = [row["loss"] for row in scores.values() if "loss" in row]
    return float(np.mean(losses)) if losses else 0.0


def _selected(task: Task, scores: Mapping[str, float], how: EvaluateOptions) -> float:
    if task.objective == "causal" and how.select == "loss":
        return -scores["loss"]
    return primary(task, scores)


def _metrics(corpus: Corpus, t: int, columns: Columns) -> dict[str, float]:
    task = corpus.tasks[t]
    if task.objective == "causal":
        return {name: float(values.mean()) for name, values in columns.items()}
    return score(task, columns["prediction"], _labels(corpus, t))


def _interval(corpus: Corpus, t: int, columns: Columns, seed: int) -> tuple[float, float]:
    task = corpus.tasks[t]
    if task.objective == "causal":
        right = columns[task.metric]
        return wilson(int(right.sum()), len(right))
    return interval(task, columns["prediction"], _labels(corpus, t), seed=seed)


def _labels(corpus: Corpus, t: int) -> NDArray[Any]:
    return np.array([example.label for example in corpus.examples[t]])


def _columns(rows: Sequence[Judgement]) -> Columns:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
