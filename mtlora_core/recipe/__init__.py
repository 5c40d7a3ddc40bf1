"""Recipes: YAML text becomes a frozen :class:`Recipe`, with every problem told at its place."""

from .check import validated
from .dump import dump_recipe
from .load import load_recipe
from .model import PartSpec, Recipe
from .train import LossOptions, SamplingOptions, TrainOptions

__all__ = [
    "LossOptions",
    "PartSpec",
    "Recipe",
    "SamplingOptions",
    "TrainOptions",
    "dump_recipe",
    "load_recipe",
    "validated",
]
