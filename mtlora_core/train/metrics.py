"""How well predictions fit labels: scores, the primary one, and its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..seeds import derive
from ..tasks import METRICS, Metric, Task

Array = NDArray[Any]
Statistic = Callable[[Array, Array], Array]
"""Labels and predictions ``[..., n]`` to values ``[...]``: a bootstrap asks for many at once."""

CONFIDENCE = 0.95
RESAMPLES = 2_000
BATCH = 1_000_000
"""Values of one batch of resamples: enough to be fast, little enough to fit in memory."""


def score(task: Task, predictions: Array, labels: Array) -> dict[str, float]:
    """Return every metric of the task's objective, by name.

    Classification has ``accuracy``, ``macro-f1`` (the mean over the classes that occur in the
    labels or the predictions) and ``mcc`` (Matthews' coefficient, for any number of classes);
    regression has ``spearman`` and ``mse``. A coefficient that is undefined, as when all
    predictions are the same, is 0.

    Args:
        task: Says which objective.
        predictions: ``[n]``, class indices or numbers.
        labels: ``[n]``, likewise; at least one.
    """
    return {
        name: float(_STATISTICS[name](np.asarray(labels), np.asarray(predictions)))
        for name in METRICS[task.objective]
    }


def primary(task: Task, scores: Mapping[str, float]) -> float:
    """Return the task's own metric out of ``scores``; higher is better, so ``mse`` is negated."""
    return _sign(task) * scores[task.metric]


def interval(task: Task, predictions: Array, labels: Array, *, seed: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of :func:`primary`, over the choice of examples.

    Wilson's interval for accuracy; for the others the percentile bootstrap over examples
    (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3), whose draws
    are the task's own under ``seed``. One example alone says nothing about the choice: where
    there is no more, both ends are the value itself.
    """
    if task.metric == "accuracy":
        return wilson(int(np.sum(predictions == labels)), len(labels))
    if len(labels) < 2:
        value = primary(task, score(task, predictions, labels))
        return value, value
    return _bootstrap(task, np.asarray(predictions), np.asarray(labels), seed)


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share of ``correct`` out of ``count``."""
    from scipy.stats import binomtest

    ends = binomtest(correct, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(ends.low), float(ends.high)


def matches(answer: str, right: str) -> dict[str, float]:
    """Return whether an answer is right, strictly and loosely.

    ``exact-match``: it is the same text, but for spaces around either. ``contains``: the right
    answer is somewhere in it, whatever the case, as the released evaluation of mtLoRA scores
    BIG-Bench Hard: a list of everything passes, and so does "invalid" for "valid".
    """
    return {
        "exact-match": float(answer.strip() == right.strip()),
        "contains": float(right.strip().lower() in answer.lower()),
    }


def _bootstrap(task: Task, predictions: Array, labels: Array, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap

    statistic, sign = _STATISTICS[task.metric], _sign(task)
    ends = bootstrap(
        (labels, predictions),
        lambda labels, predictions, axis: sign * statistic(labels, predictions),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH // max(len(labels), task.outputs**2)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(derive(seed, "interval", task.name)),
    ).confidence_interval
    return float(ends.low), float(ends.high)


def _sign(task: Task) -> int:
    return -1 if task.metric == "mse" else 1


# scikit-learn has these metrics, one sample a call: 2,000 resamples would take it seconds. The
# tests hold them to scikit-learn's.


def _accuracy(labels: Array, predictions: Array) -> Array:
    return np.asarray((labels == predictions).mean(-1))


def _macro_f1(labels: Array, predictions: Array) -> Array:
    counts = _confusion(labels, predictions)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    occurrences = counts.sum(-1) + counts.sum(-2)
    f1 = 2 * hits / np.maximum(occurrences, 1)
    return np.asarray(f1.sum(-1) / (occurrences > 0).sum(-1))


def _mcc(labels: Array, predictions: Array) -> Array:
    """Gorodkin, "Comparing two K-category assignments by a K-category correlation", 2004."""
    counts = _confusion(labels, predictions).astype(float)
    true, predicted, total = counts.sum(-1), counts.sum(-2), counts.sum((-1, -2))
    covariance = np.trace(counts, axis1=-2, axis2=-1) * total - (true * predicted).sum(-1)
    variances = (total**2 - (true**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return _ratio(covariance, np.sqrt(variances))


def _confusion(labels: Array, predictions: Array) -> Array:
    """Return how often each class was given each answer, as ``[..., classes, classes]``."""
    classes = int(max(labels.max(), predictions.max())) + 1
    cells = (labels * classes + predictions).astype(int).reshape(-1, labels.shape[-1])
    cells += np.arange(len(cells))[:, None] * classes**2  # a range of cells for each sample
    counts = np.bincount(cells.ravel(), minlength=len(cells) * classes**2)
    return counts.reshape(*labels.shape[:-1], classes, classes)


def _spearman(labels: Array, predictions: Array) -> Array:
    from scipy.stats import rankdata

    x, y = (rankdata(each, axis=-1) for each in (labels, predictions))
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return _ratio((x * y).sum(-1), np.sqrt((x**2).sum(-1) * (y**2).sum(-1)))


def _mse(labels: Array, predictions: Array) -> Array:
    return np.asarray(((labels - predictions) ** 2).mean(-1))


def _ratio(top: Array, bottom: Array) -> Array:
    """Return ``top / bottom``, 0 where that is undefined."""
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


_STATISTICS: Mapping[Metric, Statistic] = {
    "accuracy": _accuracy,
    "macro-f1": _macro_f1,
    "mcc": _mcc,
    "spearman": _spearman,
    "mse": _mse,
}
