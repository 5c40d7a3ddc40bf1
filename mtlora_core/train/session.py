"""Where a training stands: the model, its optimizer, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import CompositionError
from ..model import MultiTaskModel
from ..recipe import MeasureOptions, TrainOptions
from ..tasks import TaskData
from .corpus import Corpus, Pick
from .engine import Engine
from .optimizer import make_optimizer
from .sampling import batches_per_epoch, epoch


@dataclass
class Progress:
    """The numbers of a training that a checkpoint keeps."""

    step: int = 0
    """Optimizer steps taken."""
    evaluated_at: int = 0
    """Step of the last evaluation."""
    best_step: int = 0
    best_mean: float = -math.inf
    """Mean over tasks of the primary validation metric, at its best."""
    best_loss: float = 0.0
    """Mean over causal tasks of the loss there, by which the best of equal means is told."""
    waited: int = 0
    """Evaluations since the best one."""
    seconds: float = 0.0
    """Time spent in steps and evaluations."""


@dataclass
class Session:
    """A training under way.

    Every random choice is a function of seed and step, so the model, what its regularizers
    remember, the optimizer and :class:`Progress` are all that a resumed run needs.
    """

    model: MultiTaskModel
    options: TrainOptions
    seed: int
    engine: Engine
    train: Corpus
    validation: Corpus
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    progress: Progress = field(default_factory=Progress)
    best: Mapping[str, Tensor] | None = None
    """The trained tensors at the best evaluation, on the CPU."""

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.options)
        self.scaler = torch.amp.GradScaler(
            self.engine.device.type, enabled=self.options.precision == "fp16"
        )
        self.lengths = self.train.lengths
        self.per_epoch = batches_per_epoch(
            [len(each) for each in self.lengths], self.options.batch_size
        )
        self._epoch: tuple[int, list[list[Pick]]] = (-1, [])

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return total_steps(self.options, [len(each) for each in self.lengths])

    @property
    def due(self) -> bool:
        """Whether the model is to be evaluated before the next step."""
        step, every = self.progress.step, self.options.evaluate_every or self.per_epoch
        wanted = step % every == 0 or step == self.steps
        return step > 0 and wanted and self.progress.evaluated_at != step

    @property
    def measures_conflicts(self) -> bool:
        """Whether the next step measures how the tasks' gradients conflict."""
        how = self.measure.conflicts
        return how is not None and (self.progress.step + 1) % how.every == 0

    @property
    def stopped_early(self) -> bool:
        """Whether patience has run out."""
        patience = self.options.patience
        return patience is not None and self.progress.waited >= patience

    @property
    def finished(self) -> bool:
        """Whether no step is left to take."""
        return self.progress.step >= self.steps or self.stopped_early

    def picks(self) -> list[Pick]:
        """Return the examples of the next step, over all processes."""
        number, index = divmod(self.progress.step, self.per_epoch)
        if self._epoch[0] != number:
            size, how = self.options.batch_size, self.options.sampling
            self._epoch = number, [*epoch(self.lengths, how, size, seed=self.seed, number=number)]
        return self._epoch[1][index]


def total_steps(options: TrainOptions, sizes: Sequence[int]) -> int:
    """Return the optimizer steps of a training on tasks of ``sizes`` examples."""
    if options.steps is not None:
        return options.steps
    return math.ceil((options.epochs or 0) * batches_per_epoch(sizes, options.batch_size))


def start(
    model: MultiTaskModel,
    data: Sequence[TaskData],
    options: TrainOptions,
    *,
    seed: int,
    engine: Engine,
    measure: MeasureOptions | None = None,
) -> Session:
    """Return a session at step 0; the model is moved to the engine's device.

    Raises:
        CompositionError: the model's weighting cannot do with these options.
    """
    weighting = model.adapters.weighting
    if weighting is not None and weighting.current and options.accumulate > 1:
        raise CompositionError(
            f"{weighting.name!r} weighs the losses of a step by these losses, which are known too "
            f"late with accumulate={options.accumulate}; take 1"
        )
    model.to(engine.device)
    train, validation = (Corpus(model.backbone, data, s) for s in ("train", "validation"))
    measure = measure or MeasureOptions()
    return Session(model, options, seed, engine, train, validation, measure)
