"""The columns beside every result: what a task's answers cost without adapters.

Three of them, each fitted on a task's training examples, with whatever there is to choose chosen
on its validation examples, and scored once on its test examples.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from .. import tensors
from ..errors import MtloraError, RunFolderError, TrainingError
from ..inputs import Input
from ..interfaces import Backbone, Encoded
from ..shortage import in_batches
from ..tasks import SPLITS, Example, Split, Task, TaskData
from .metrics import matches, primary, score

Array = NDArray[Any]
Features = Mapping[Split, Array]
"""Features of a task's examples under the frozen backbone, by split: ``[n, width]``."""

FORMAT = 1
"""Part of every cache key; a change of what is computed here raises it."""
SEPARATOR = "xxsep"
"""Stands between the texts of a pair, as a word that no text has."""
TFIDF_GRID = (1.0, 10.0, 100.0)
HEADS_GRID = tuple(10.0**exponent for exponent in range(-5, 3))
"""Inverse strengths C of the regularization that are tried, the strongest regularization first."""
TOLERANCE = 1e-6
"""The largest coordinate of the gradient of the mean loss at which a fit has converged."""
ITERATIONS = 100_000
THREADED = 10_000_000
"""Values of a feature matrix from which several threads are worth their waiting for each other.
Below, they gain nothing on an idle machine and lose a factor of fifty on a busy one."""


@dataclass(frozen=True)
class Baseline:
    """What one task reaches without adapters, in its primary metric on test; higher is better."""

    majority: float
    """Always the most frequent class or answer of train; the mean label for regression."""
    tfidf: float | None
    """A linear model on TF-IDF of words and pairs of words; None where the inputs are no texts,
    or the answers."""
    heads: float | None
    """A linear model on the frozen backbone's features: training without adapters, to the end.
    None where the answers are texts."""


@dataclass(frozen=True)
class Fitted:
    """A fit whose regularization was chosen on validation."""

    score: float
    """The primary metric on test."""
    c: float
    """The chosen inverse strength of the regularization."""


class Predictor(Protocol):
    """A fitted model of scikit-learn."""

    def predict(self, x: Any) -> Array:
        """Return the answers to the rows of ``x``."""
        ...


def baselines(
    backbone: Backbone,
    backbone_key: str,
    data: Sequence[TaskData],
    device: torch.device,
    *,
    batch_size: int = 64,
) -> dict[str, Baseline]:
    """Return every task's baselines; computed once for a backbone and data, then cached.

    Args:
        backbone: As it was pretrained: without adapters, on ``device``.
        backbone_key: Stands for its options and its weights in the cache's keys.
        data: The tasks.
        device: Where the features are computed.
        batch_size: Examples of one forward.

    Raises:
        TrainingError: a fit did not converge.
    """
    texts = {each.task.name: _said(each) for each in data if each.task.objective == "causal"}
    data = [each for each in data if each.task.name not in texts]
    prints = [each.fingerprint() for each in data]

    def features() -> dict[str, Array]:
        return _flat(frozen_features(backbone, data, device, batch_size))

    def fitted() -> dict[str, Array]:
        rows = cached(_digest("features", backbone_key, *prints), features)
        scores = {}
        for each in data:
            own = {split: rows[f"{each.task.name}/{split}"] for split in SPLITS}
            scores[each.task.name] = np.array(_baseline(each, own))
        return scores

    # Another release of scikit-learn may stop at another point of a flat optimum.
    key = _digest("scores", version("scikit-learn"), backbone_key, *prints)
    scores = cached(key, fitted) if data else {}
    return texts | {name: _read(*row.tolist()) for name, row in scores.items()}


def _read(majority: float, tfidf: float, heads: float) -> Baseline:
    return Baseline(majority, None if math.isnan(tfidf) else tfidf, heads)


def _said(data: TaskData) -> Baseline:
    """Score the answer that is most frequent in train, whatever is asked."""
    answer, _ = Counter(str(example.label) for example in data.train).most_common(1)[0]
    how = "contains" if data.task.metric == "contains" else "exact-match"
    right = [matches(answer, str(example.label))[how] for example in data.test]
    return Baseline(float(np.mean(right)), None, None)


def _is_of_texts(data: TaskData) -> bool:
    return isinstance(data.train[0].input, str | tuple)


def _baseline(data: TaskData, features: Features) -> tuple[float, float, float]:
    """Return the fields of :class:`Baseline`, not a number for None."""
    from threadpoolctl import threadpool_limits

    # The matrices are small: more threads wait for each other longer than they work.
    with threadpool_limits(1):
        words = tfidf(data).score if _is_of_texts(data) else math.nan
        return majority(data), words, heads_only(data, features).score


# The three columns.


def majority(data: TaskData) -> float:
    """Score the answer that needs no input: the most frequent class, or the mean label."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    model = DummyClassifier() if data.task.objective == "classification" else DummyRegressor()
    model.fit(_labels(data.train), _labels(data.train))
    return _primary(data.task, model, _labels(data.test), data.test)


def tfidf(data: TaskData) -> Fitted:
    """Score a linear model on TF-IDF of words and pairs of neighbouring words.

    C is chosen from :data:`TFIDF_GRID`; the texts of a pair are joined with a word of their own.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = {split: [joined(each.input) for each in rows] for split, rows in data.splits()}
    # Words of one letter count: short texts have little else to offer.
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+")
    # The word of its own, so that there is one even where every text is blank.
    vectorizer.fit([*texts["train"], SEPARATOR])
    rows = {split: vectorizer.transform(each) for split, each in texts.items()}
    return _fitted(data, rows, TFIDF_GRID)


def heads_only(data: TaskData, features: Features) -> Fitted:
    """Score a linear model on the frozen backbone's features, fitted to convergence.

    Logistic regression, or ridge regression, on features standardized over train: what training
    the heads alone arrives at, with C chosen from :data:`HEADS_GRID`.
    """
    from sklearn.preprocessing import StandardScaler

    wide = {split: rows.astype(np.float64) for split, rows in features.items()}
    scaler = StandardScaler().fit(wide["train"])
    return _fitted(
        data, {split: scaler.transform(rows) for split, rows in wide.items()}, HEADS_GRID
    )


def joined(text: Input) -> str:
    """Return a text, or a pair with the word of its own between its texts."""
    assert isinstance(text, str | tuple), "TF-IDF is of texts"
    return text if isinstance(text, str) else f" {SEPARATOR} ".join(text)


# Fitting, and choosing on validation.


def _fitted(data: TaskData, rows: Mapping[Split, Any], grid: Sequence[float]) -> Fitted:
    from threadpoolctl import threadpool_limits

    path = _path(data.task, rows["train"], _labels(data.train), grid)
    with threadpool_limits(1 if rows["train"].size < THREADED else None):
        c, model = _chosen(data.task, path, rows["validation"], data.validation)
    return Fitted(_primary(data.task, model, rows["test"], data.test), c)


def _chosen(
    task: Task, path: Iterable[tuple[float, Predictor]], x: Any, examples: Sequence[Example]
) -> tuple[float, Predictor]:
    """Return the model that is best on validation; of equals, the most regularized."""
    scored = [(_primary(task, model, x, examples), c, model) for c, model in path]
    if not scored:
        raise TrainingError(f"task {task.name!r}: no fit of its baselines converged")
    _, c, model = max(scored, key=lambda each: each[0])
    return c, model


def _path(
    task: Task, x: Any, labels: Array, grid: Sequence[float]
) -> Iterator[tuple[float, Predictor]]:
    """Yield each C and the model fitted with it."""
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import Ridge

    if task.objective == "regression":
        for c in grid:
            yield c, Ridge(alpha=1 / c, tol=TOLERANCE).fit(x, labels)
    elif len(np.unique(labels)) == 1:  # nothing to tell apart, and logistic regression refuses
        yield grid[0], DummyClassifier().fit(x, labels)
    else:
        yield from _logistic_path(task, x, labels, grid)


def _logistic_path(
    task: Task, x: Any, labels: Array, grid: Sequence[float]
) -> Iterator[tuple[float, Predictor]]:
    """Yield each C and its logistic regression; one that did not converge is left out."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # Each fit starts from the one before, which halves the time; the optimum is the same.
    model = LogisticRegression(
        tol=TOLERANCE, max_iter=ITERATIONS, class_weight=_weights(task, labels), warm_start=True
    )
    for c in grid:
        model.set_params(C=c)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(x, labels)
            except ConvergenceWarning:
                continue
        yield c, deepcopy(model)


def _weights(task: Task, labels: Array) -> dict[int, float] | None:
    """Return the weights of the classes that occur; scikit-learn refuses any others."""
    if task.class_weights is None:
        return None
    return {int(label): task.class_weights[int(label)] for label in np.unique(labels)}


def _labels(examples: Sequence[Example]) -> Array:
    return np.array([example.label for example in examples])


def _primary(task: Task, model: Predictor, x: Any, examples: Sequence[Example]) -> float:
    return primary(task, score(task, model.predict(x), _labels(examples)))


# Features of the frozen backbone.


@torch.no_grad()  # not inference mode: a buffer that a model makes in its first forward stays
def frozen_features(
    backbone: Backbone, data: Sequence[TaskData], device: torch.device, batch_size: int = 64
) -> dict[str, dict[Split, Array]]:
    """Return the features of every example as ``[n, width]`` in float32, by task and split.

    An input that several tasks share runs once; inputs of similar length run together.

    Args:
        backbone: Without adapters, on ``device``.
        data: The tasks.
        device: Where the backbone is.
        batch_size: Examples of one forward.
    """
    encoded = _encoded(backbone, data)
    keys, rows = [*encoded], [*encoded.values()]
    features: dict[_Input, Array] = {}

    def answer(batch: Sequence[int]) -> None:
        inputs = backbone.collate([rows[i] for i in batch]).to(device)
        found = backbone.features(inputs).float().cpu().numpy()
        features.update(zip([keys[i] for i in batch], found, strict=True))

    in_batches(answer, [row.length for row in rows], batch_size)
    return {
        each.task.name: {
            split: np.stack([features[key] for key in _keys(each.task, examples)])
            for split, examples in each.splits()
        }
        for each in data
    }


_Input = tuple[Input, int | None]
"""An input and how many of its tokens are kept."""


def _keys(task: Task, examples: Sequence[Example]) -> list[_Input]:
    return [(example.input, task.max_length) for example in examples]


def _encoded(backbone: Backbone, data: Sequence[TaskData]) -> dict[_Input, Encoded]:
    rows: dict[_Input, Encoded] = {}
    for each in data:
        for _, examples in each.splits():
            new = [key for key in dict.fromkeys(_keys(each.task, examples)) if key not in rows]
            texts = [text for text, _ in new]
            rows.update(zip(new, backbone.encode(texts, each.task.max_length), strict=True))
    return rows


def _flat(features: Mapping[str, Features]) -> dict[str, Array]:
    return {
        f"{name}/{split}": rows
        for name, splits in features.items()
        for split, rows in splits.items()
    }


# The cache.


def cache_folder() -> Path:
    """Return where computed baselines are kept; what is in it can be deleted at any time.

    ``MTLORA_CACHE``, or ``mtlora`` in ``XDG_CACHE_HOME``, or in ``~/.cache``.
    """
    if own := os.environ.get("MTLORA_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mtlora"


def cached(key: str, compute: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """Return the arrays kept under ``key``; compute and keep them where there are none.

    A damaged file counts as none. A folder that cannot be written keeps nothing.
    """
    path = cache_folder() / f"{key}.safetensors"
    try:
        return {name: tensor.numpy() for name, tensor in tensors.read(path)[0].items()}
    except RunFolderError:
        values = dict(compute())
        _keep(path, values)
        return values


def _keep(path: Path, values: Mapping[str, Array]) -> None:
    with suppress(OSError, MtloraError):  # nothing is lost without a cache but time
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors.save(path, {name: torch.from_numpy(each) for name, each in values.items()}, {})


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([FORMAT, *parts], default=str).encode()).hexdigest()
