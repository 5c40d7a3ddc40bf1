"""Options of transforms and weightings; light, so that a recipe is checked without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mtlora_core.options import Options, Scope, TransformOptions

Share = Annotated[float, Field(ge=0, le=1)]
Regularization = Annotated[float, Field(ge=1e-6, lt=1)]


class AggregatorOptions(TransformOptions):
    """Options that every transform of this package has."""

    scope: Scope = "global"
    """Over which parameters a task's gradient is one vector: all, as in the papers; those of a
    layer together; or every parameter tensor alone."""


class UPGradOptions(AggregatorOptions):
    """Options of the ``upgrad`` transform."""

    reg_eps: Regularization = 1e-4
    """Added to the diagonal of the Gramian, whose trace is 1: keeps the quadratic program solvable
    where gradients are dependent, and lets that much of a conflict be."""


class MGDAOptions(AggregatorOptions):
    """Options of the ``mgda`` transform."""

    epsilon: PositiveFloat = 1e-3
    """The step of the Frank-Wolfe solver below which it ends."""
    max_iters: PositiveInt = 100
    """The most steps of the solver."""


class IMTLGOptions(AggregatorOptions):
    """Options of the ``imtl-g`` transform."""


class AlignedMTLOptions(AggregatorOptions):
    """Options of the ``aligned-mtl`` transform."""

    scale_mode: Literal["min", "median", "rmse"] = "min"
    """How long the principal components become: as the shortest of them, which is the paper's, as
    the median, or as the root of the mean of squares, which is its code's."""


class DualProjOptions(AggregatorOptions):
    """Options of the ``dual-proj`` transform."""

    reg_eps: Regularization = 1e-4
    """Added to the diagonal of the Gramian, whose trace is 1: keeps the quadratic program solvable
    where gradients are dependent, and lets that much of a conflict be."""


class PCGradOptions(AggregatorOptions):
    """Options of the ``pcgrad`` transform."""


class CAGradOptions(AggregatorOptions):
    """Options of the ``cagrad`` transform."""

    c: NonNegativeFloat = 0.5
    """How far the result may be from the joint gradient, as a share of its length: 0 is joint
    training, and convergence is proven below 1."""
    norm_eps: NonNegativeFloat = 1e-4
    """Below which length, as a share of all gradients', what is best for the task that gains least
    counts as 0; then no task can gain without another's loss, and the result is 0."""


class FairGradOptions(AggregatorOptions):
    """Options of the ``fairgrad`` transform."""

    alpha: PositiveFloat = 2.0
    """What is fair: 1 is proportional fairness, 2 the least delay of all together, and ever larger
    ones the most for the task that gains least; near 0 is joint training."""
    max_iters: PositiveInt | None = None
    """The most evaluations of the least-squares solver; null: 100 for each task."""


class GradVacOptions(AggregatorOptions):
    """Options of the ``gradvac`` transform."""

    beta: Share = 0.5
    """The share of a step's cosine in the moving average that the next ones are held to: 0 holds
    them to 0 for ever, which is ``pcgrad``."""


class NashMTLOptions(AggregatorOptions):
    """Options of the ``nash-mtl`` transform."""

    update_every: PositiveInt = 1
    """Steps for which weights are kept; solving takes longer than a small model's step."""


class ConFIGOptions(AggregatorOptions):
    """Options of the ``config`` transform."""


class GradDropOptions(AggregatorOptions):
    """Options of the ``grad-drop`` transform."""

    leak: Share = 0.0
    """The share of what is dropped that passes all the same: 1 is joint training."""


class UncertaintyWeightingOptions(Options):
    """Options of the ``uncertainty-weighting`` weighting."""

    learning_rate: PositiveFloat = 0.01
    """Adam's, for the log-variances alone; the paper learns them with the network."""


class DWAOptions(Options):
    """Options of the ``dwa`` weighting."""

    temperature: PositiveFloat = 2.0
    """How even the weights are: large makes them equal; 2 is the paper's."""
    every: PositiveInt | None = None
    """Steps over which losses are averaged; null: a pass through the examples, as in the paper,
    which leaves weights equal for the first two."""


class FAMOOptions(Options):
    """Options of the ``famo`` weighting."""

    learning_rate: PositiveFloat = 0.025
    """Adam's, for the logits of the weights; the default is the paper's."""
    weight_decay: NonNegativeFloat = 1e-3
    """Pulls the logits to 0; the default is that of the paper's Algorithm 2."""


class GeometricMeanOptions(Options):
    """Options of the ``geometric-mean`` weighting."""


class RandomWeightingOptions(Options):
    """Options of the ``random-weighting`` weighting."""


class STCHOptions(Options):
    """Options of the ``stch`` weighting."""

    mu: PositiveFloat = 0.1
    """How smooth the maximum is: near 0 only the largest loss counts, large makes weights equal.
    It is compared with losses over the number of tasks."""
