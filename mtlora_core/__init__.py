"""Compose multi-task low-rank adaptation from plugins.

Every name is loaded when it is first used: a plugin's door imports this package and must stay
free of pydantic and torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .component import Component
    from .compose import attach, compose, load_tasks
    from .conflicts import conflict_rates
    from .errors import (
        CompositionError,
        DataError,
        MtloraError,
        PluginError,
        RecipeError,
        RunFolderError,
        TrainingError,
        VersionWarning,
    )
    from .hookspecs import hookimpl
    from .load import evaluate, load
    from .options import Options
    from .recipe import Recipe, load_recipe
    from .registry import Registry
    from .resolve import Plan, resolve
    from .run import run
    from .train import fit

_HOMES = {
    "Component": "component",
    "CompositionError": "errors",
    "DataError": "errors",
    "MtloraError": "errors",
    "Options": "options",
    "Plan": "resolve",
    "PluginError": "errors",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "Registry": "registry",
    "RunFolderError": "errors",
    "TrainingError": "errors",
    "VersionWarning": "errors",
    "attach": "compose",
    "compose": "compose",
    "conflict_rates": "conflicts",
    "evaluate": "load",
    "fit": "train",
    "hookimpl": "hookspecs",
    "load": "load",
    "load_recipe": "recipe",
    "load_tasks": "compose",
    "resolve": "resolve",
    "run": "run",
}

__all__ = [
    "Component",
    "CompositionError",
    "DataError",
    "MtloraError",
    "Options",
    "Plan",
    "PluginError",
    "Recipe",
    "RecipeError",
    "Registry",
    "RunFolderError",
    "TrainingError",
    "VersionWarning",
    "attach",
    "compose",
    "conflict_rates",
    "evaluate",
    "fit",
    "hookimpl",
    "load",
    "load_recipe",
    "load_tasks",
    "resolve",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps ``mtlora_core.resolve`` the function, once the module of that name is imported too.

    Importing a submodule sets it as an attribute of its package. Three verbs live in modules of
    their own name: without this, ``from mtlora_core import resolve`` would give the function or
    the module, depending on what had been imported before.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
