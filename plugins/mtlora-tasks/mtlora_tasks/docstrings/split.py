"""One split for all tasks: every text belongs to one side of it, whichever tasks use it."""

from __future__ import annotations

from mtlora_core.seeds import derive
from mtlora_core.tasks import Split

from .corpus import Documented

VALIDATION, TEST = 0.13, 0.22
"""Shares of the modules, and of the objects of the tasks that split by object."""

BY_OBJECT = 0.3
"""Share of the functions, methods and classes that serve the tasks that split by object."""


def position(*names: object) -> float:
    """Return where the hash of ``names`` falls in ``[0, 1)``; the same on every machine."""
    return derive(0, "docstrings", *names) / 2**63


def split_of(*names: object) -> Split:
    """Return the split that the hash of ``names`` falls in."""
    where = position("split", *names)
    if where < TEST:
        return "test"
    return "validation" if where < TEST + VALIDATION else "train"


def by_object(item: Documented) -> bool:
    """Whether an object serves the tasks that split by object.

    Each object serves these or those that split by module, never both: else a text could be in
    the training split of one task and in the test split of another.
    """
    return item.kind != "module" and position("pool", item.module, item.name) < BY_OBJECT
