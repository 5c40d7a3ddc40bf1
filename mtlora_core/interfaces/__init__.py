"""The contracts of the parts that own weights.

One alphabet of shapes, here and everywhere: ``b`` batch, ``t`` tokens, ``d`` width an adapter
reads, ``o`` width it adds to, ``e`` experts, ``r`` rank, ``g`` groups of output dimensions,
``T`` tasks.
"""

from ..options import BackboneOptions, Options
from .backbone import Backbone, Encoded, Inputs, LanguageModel
from .build import (
    BuildBackbone,
    BuildExperts,
    BuildLanguageModel,
    BuildPenalty,
    BuildPlacement,
    BuildRouter,
    BuildTasks,
    BuildTransform,
    BuildWeighting,
)
from .experts import Experts, Factors, SiteInput
from .regularizers import GradientTransform, LossWeighting, Penalty, StepLosses, TaskGradients
from .routing import Router, Routing, StepRouting
from .task_aware import TaskAware

__all__ = [
    "Backbone",
    "BackboneOptions",
    "BuildBackbone",
    "BuildExperts",
    "BuildLanguageModel",
    "BuildPenalty",
    "BuildPlacement",
    "BuildRouter",
    "BuildTasks",
    "BuildTransform",
    "BuildWeighting",
    "Encoded",
    "Experts",
    "Factors",
    "GradientTransform",
    "Inputs",
    "LanguageModel",
    "LossWeighting",
    "Options",
    "Penalty",
    "Router",
    "Routing",
    "SiteInput",
    "StepLosses",
    "StepRouting",
    "TaskAware",
    "TaskGradients",
]
