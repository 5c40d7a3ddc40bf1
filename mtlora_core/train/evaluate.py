"""Scores of a model on a split of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object

from ..model import MultiTaskModel
from ..tasks import Split, Task, TaskData
from .corpus import Corpus
from .metrics import interval, primary, score
from .objectives import predictions

BATCH_SIZE = 64
"""Examples of one forward without gradients."""


def answers(model: MultiTaskModel, corpus: Corpus, accelerator: Accelerator) -> list[np.ndarray]:
    """Return each task's predictions ``[n]``: class indices, or numbers for regression.

    The examples are shared out over the processes, and every process gets all the answers.
    """
    picks = [(t, i) for t, rows in enumerate(corpus.encoded) for i in range(len(rows))]
    own = picks[accelerator.process_index :: accelerator.num_processes]
    with accelerator.autocast():
        outputs = model.outputs(
            [corpus.encoded[t][i] for t, i in own], [t for t, _ in own], BATCH_SIZE
        )
    given = [
        predictions(corpus.tasks[t], output[None]).item()
        for (t, _), output in zip(own, outputs, strict=True)
    ]
    gathered = dict(_gather([*zip(own, given, strict=True)], accelerator))
    return [
        np.array([gathered[t, i] for i in range(len(rows))])
        for t, rows in enumerate(corpus.encoded)
    ]


def score_split(
    model: MultiTaskModel, corpus: Corpus, accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """Return every metric of every task's objective, by task."""
    return {
        corpus.tasks[t].name: score(corpus.tasks[t], answer, labels_of(corpus, t))
        for t, answer in enumerate(answers(model, corpus, accelerator))
    }


def split_table(
    model: MultiTaskModel,
    data: Sequence[TaskData],
    split: Split,
    accelerator: Accelerator,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return a row for each task: the primary metric, its 95 % interval, and all metrics.

    Args:
        model: In eval mode or not; on the accelerator's device.
        data: The tasks the model was composed with.
        split: Which examples.
        accelerator: Shares the examples out.
        seed: Of the bootstrap.
    """
    corpus = Corpus(model.backbone, data, split)
    rows = {}
    for t, answer in enumerate(answers(model, corpus, accelerator)):
        task, labels = corpus.tasks[t], labels_of(corpus, t)
        metrics = score(task, answer, labels)
        low, high = interval(task, answer, labels, seed=seed)
        rows[task.name] = {
            "metric": task.metric,
            "value": primary(task, metrics),
            "low": low,
            "high": high,
            "count": len(labels),
            "metrics": metrics,
        }
    return rows


def labels_of(corpus: Corpus, task: int) -> np.ndarray:
    """Return the labels ``[n]`` of a task's examples."""
    return np.array([example.label for example in corpus.examples[task]])


def mean_primary(tasks: Sequence[Task], scores: Mapping[str, Mapping[str, float]]) -> float:
    """Return the mean over tasks of the primary metric; higher is better."""
    return float(np.mean([primary(task, scores[task.name]) for task in tasks]))


def _gather(
    given: list[tuple[tuple[int, int], float]], accelerator: Accelerator
) -> list[tuple[tuple[int, int], float]]:
    return given if accelerator.num_processes == 1 else gather_object(given)
