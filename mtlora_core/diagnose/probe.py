"""Some examples of every task, in batches of one task or of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..model import MultiTaskModel
from ..seeds import derive
from ..tasks import Split, TaskData
from ..train.corpus import Batch, Corpus, Pick

BATCH_SIZE = 32
"""Examples of one forward without gradients."""


class Probe:
    """Draws examples for measurements, the same for the same seed.

    Args:
        model: The trained model; in eval mode, on its device.
        data: Its tasks, in the order of their ids.
        split: Which examples.
        seed: Decides which are drawn.
    """

    def __init__(
        self, model: MultiTaskModel, data: Sequence[TaskData], split: Split, seed: int
    ) -> None:
        self.model = model
        self.corpus = Corpus(model.backbone, data, split)
        self.seed = seed

    def of_task(self, task: int, count: int) -> Iterator[Batch]:
        """Yield at most ``count`` examples of a task, in batches."""
        picks = self._drawn(task, count, "routing")
        for begin in range(0, len(picks), BATCH_SIZE):
            yield self.corpus.batch(picks[begin : begin + BATCH_SIZE])

    def of_all(self, count: int, draw: int) -> Batch:
        """Return ``count`` examples of every task, ordered by task; another draw, other ones."""
        tasks = range(len(self.model.tasks))
        return self.corpus.batch([p for t in tasks for p in self._drawn(t, count, "draw", draw)])

    def _drawn(self, task: int, count: int, *stream: object) -> list[Pick]:
        size = len(self.corpus.encoded[task])
        name = self.model.tasks[task].name
        generator = torch.Generator().manual_seed(derive(self.seed, "diagnose", name, *stream))
        rows = torch.randperm(size, generator=generator)[:count]
        return [Pick(task, row) for row in rows.tolist()]
