"""The hooks of a plugin: one describes its parts, four observe a run. All on one screen.

An observer may end a run, unlike a tracker, which is given up with a warning: what it raises goes
through to whoever started the run, which resumes from its last checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pluggy

from .component import Component

GROUP = "mtlora"
"""The project name of the hooks, and the entry-point group."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def mtlora_components() -> Iterable[Component]:  # type: ignore[empty-body]  # a specification
    """Describe the components this package offers.

    Called once, when the registry is filled: return descriptions only and import no torch.
    """


@hookspec
def mtlora_run_started(folder: Path, recipe: Mapping[str, Any]) -> None:
    """A run begins or goes on; ``recipe`` is resolved. Only runs that ``observe`` you call you."""


@hookspec
def mtlora_step(folder: Path, record: Mapping[str, Any]) -> None:
    """An optimizer step was taken; ``record`` is its line of ``metrics.jsonl``."""


@hookspec
def mtlora_evaluated(folder: Path, record: Mapping[str, Any]) -> None:
    """A split was scored; ``record`` is its line of ``metrics.jsonl``."""


@hookspec
def mtlora_run_finished(folder: Path, record: Mapping[str, Any]) -> None:
    """The run is complete and its folder whole; ``record`` is the last line."""


def manager() -> pluggy.PluginManager:
    """Return a manager that knows these hooks and no plugin yet."""
    made = pluggy.PluginManager(GROUP)
    made.add_hookspecs(sys.modules[__name__])
    return made
