"""Options of penalties and transforms; light, so that a recipe is checked without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from mtlora_core.options import PenaltyOptions, Scope, TransformOptions


class UniformOrthogonalityOptions(PenaltyOptions):
    """Options of the ``uniform-orthogonality`` penalty."""

    weight: NonNegativeFloat = 0.25
    """Factor of the penalty in the loss; the default is the best of mtLoRA's Figure 1A."""


class SpectralAwareOptions(PenaltyOptions):
    """Options of the ``spectral-aware`` penalty."""

    weight: NonNegativeFloat = 1.0
    """Factor of the penalty in the loss; mtLoRA takes 1.0 on BIG-Bench Hard, 0.5 on MMLU."""
    variant: Literal["paper", "released-code"] = "paper"
    """Between every two experts, as in the paper's equation, or within each expert, as in its
    released code."""


class BalanceOptions(PenaltyOptions):
    """Options of the ``balance`` penalty."""

    weight: NonNegativeFloat = 0.01
    """Factor of the penalty in the loss; the default is that of mtLoRA's released scripts."""


class LoadBalancingOptions(PenaltyOptions):
    """Options of the ``load-balancing`` penalty."""

    weight: NonNegativeFloat = 0.01
    """Factor of the penalty in the loss; the default is the Switch Transformer's."""


class OrthogonalGradientOptions(TransformOptions):
    """Options of the ``orthogonal-gradient`` transform.

    ``scope: per-matrix`` is Ortho-LoRA, ``global`` is PCGrad.
    """

    order: Literal["random", "fixed"] = "random"
    """In which order each task's gradient meets the others': drawn anew every step from the
    recipe's seed, as in PCGrad, or that of the tasks."""


class GradNormOptions(TransformOptions):
    """Options of the ``grad-norm`` transform."""

    scope: Scope = "global"
    """Over which parameters a task's gradient is one vector, with weights of its own: all, those of
    a layer together, or every parameter tensor alone."""
    alpha: NonNegativeFloat = 1.5
    """How strongly tasks that are behind are favoured: 0 makes all gradients equally long; tasks
    that differ much want more."""
    learning_rate: PositiveFloat = 0.025
    """Adam's, for the weights."""
