"""Which examples make each step: a pure function of seed and epoch, so nothing needs saving."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..recipe import SamplingOptions
from ..seeds import derive
from .corpus import Pick

WINDOW = 32
"""Batches that are drawn together and cut by length. Wide enough that a batch has little padding,
narrow enough that every stretch of training sees all lengths and tasks."""


def shares(sizes: Sequence[int], options: SamplingOptions) -> np.ndarray:
    """Return each task's share of an epoch as ``[T]``, summing to one.

    ``proportional`` follows the tasks' sizes, ``uniform`` ignores them, ``temperature`` raises
    them to the power ``1 / temperature``: 1 is proportional, large is uniform.
    """
    power = {"proportional": 1.0, "uniform": 0.0, "temperature": 1 / options.temperature}
    weights = np.asarray(sizes, dtype=float) ** power[options.by]
    return np.asarray(weights / weights.sum())


def counts(sizes: Sequence[int], options: SamplingOptions) -> list[int]:
    """Return how many examples of each task an epoch draws: as many together as there are."""
    exact = shares(sizes, options) * sum(sizes)
    floors = np.floor(exact + 1e-9).astype(int)
    rest = sum(sizes) - int(floors.sum())
    floors[np.argsort(floors - exact, kind="stable")[:rest]] += 1
    return [int(count) for count in floors]


def batches_per_epoch(sizes: Sequence[int], batch_size: int) -> int:
    """Return how many steps an epoch has; the last one may be smaller."""
    return math.ceil(sum(sizes) / batch_size)


def epoch(
    lengths: Sequence[Sequence[int]],
    options: SamplingOptions,
    batch_size: int,
    *,
    seed: int,
    number: int,
) -> Iterator[list[Pick]]:
    """Yield the batches of epoch ``number``: tasks mixed, lengths within a batch similar.

    Args:
        lengths: Tokens of every example, by task.
        options: How tasks share the epoch.
        batch_size: Examples of a batch.
        seed: The recipe's seed.
        number: Which epoch, from 0. Every epoch goes on in each task's own stream of shuffles,
            so a task that is drawn rarely still shows all its examples in time.
    """
    sizes = [len(each) for each in lengths]
    picks = [
        Pick(task, index)
        for task, count in enumerate(counts(sizes, options))
        for index in _stream(sizes[task], number * count, count, seed, task)
    ]
    draw = _generator(seed, "order", number)
    order = draw.permutation(len(picks))
    for start in range(0, len(picks), WINDOW * batch_size):
        window = [picks[i] for i in order[start : start + WINDOW * batch_size]]
        window.sort(key=lambda pick: lengths[pick.task][pick.row])
        cut = [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        for i in draw.permutation(len(cut)):
            yield cut[i]


def _stream(size: int, start: int, count: int, seed: int, task: int) -> Iterator[int]:
    """Yield ``count`` indices from position ``start`` of a task's endless stream of shuffles."""
    for turn in range(start // size, math.ceil((start + count) / size)):
        shuffle = _generator(seed, "shuffle", task, turn).permutation(size)
        low, high = max(start - turn * size, 0), min(start + count - turn * size, size)
        yield from (int(i) for i in shuffle[low:high])


def _generator(seed: int, *names: object) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derive(seed, "sampling", *names)))
