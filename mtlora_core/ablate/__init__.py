"""Ablations: one recipe, or several, with parts swapped, over seeds, run so that nothing is lost.

Planning loads no torch; every cell of the table is a process of its own.
"""

from .conduct import conduct, executor_of
from .devices import places
from .flags import Flags
from .folder import AblationFolder
from .schedule import Schedule
from .study import Study, read_study

__all__ = [
    "AblationFolder",
    "Flags",
    "Schedule",
    "Study",
    "conduct",
    "executor_of",
    "places",
    "read_study",
]
