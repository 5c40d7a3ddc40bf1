"""Recipes: YAML text becomes a frozen :class:`Recipe`, with every problem told at its place."""

from .check import validated
from .dump import dump_recipe
from .evaluate import EvaluateOptions
from .load import load_recipe
from .measure import ConflictOptions, MeasureOptions
from .model import PartSpec, Recipe
from .subset import SubsetOptions
from .train import Average, LossOptions, SamplingOptions, TrainOptions

__all__ = [
    "Average",
    "ConflictOptions",
    "EvaluateOptions",
    "LossOptions",
    "MeasureOptions",
    "PartSpec",
    "Recipe",
    "SamplingOptions",
    "SubsetOptions",
    "TrainOptions",
    "dump_recipe",
    "load_recipe",
    "validated",
]
