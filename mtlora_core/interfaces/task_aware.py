"""What modules of a site say of the tasks that share them."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from torch import nn


class TaskAware(nn.Module, ABC):
    """A module of one site, whose parameters tasks share, or own one by one."""

    task_indexed: ClassVar[frozenset[str]] = frozenset()
    """Names of own parameters, or of ParameterLists of them, that belong to one task each: indexed
    by the task on their first axis, so that a task's examples move its own entries only. Entries
    behind those of the tasks belong to none."""

    segmented: ClassVar[bool] = False
    """Whether parameters that tasks share enter ``forward`` only through
    :mod:`mtlora_core.lowrank`, ``linear`` and ``mix``, as the parameters themselves. A gradient
    transform then has the gradient of every task at the price of the joint one. What does not
    say so runs once for each task instead, on the task's rows: exact for whatever treats the
    rows of a batch apart, at the price of small products."""
