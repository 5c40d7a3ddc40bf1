"""Every failure that is the caller's to mend.

MtloraError
├── RecipeError        the recipe cannot be used as written
├── PluginError        an installed plugin breaks its contract
├── CompositionError   sound parts that do not fit together, or a model that cannot take them
├── DataError          the tasks' data cannot be read or used
├── RunFolderError     a run folder is missing, foreign, damaged or of another recipe
└── TrainingError      a run that had started could not go on

The command prints any of these without a traceback and exits with ``status``; any other
exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class MtloraError(Exception):
    """A failure with one or more problems, each a line that says where, what, and what instead.

    Args:
        problems: One line, or all the lines of one stage.
    """

    status = 2
    """Exit status of the command: 2 for bad input, 1 for a run that failed."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class RecipeError(MtloraError):
    """The recipe cannot be used as written."""


class PluginError(MtloraError):
    """An installed plugin breaks its contract."""


class CompositionError(MtloraError):
    """Sound parts that do not fit together, or a model that cannot take them."""


class DataError(MtloraError):
    """The tasks' data cannot be read or used."""


class RunFolderError(MtloraError):
    """A run folder is missing, foreign, damaged, or belongs to another recipe."""


class TrainingError(MtloraError):
    """A run that had started could not go on; its last good checkpoint is kept."""

    status = 1


class VersionWarning(UserWarning):
    """A run is loaded by plugins of other versions than it was made with."""


def require_known(what: str, value: str, known: Sequence[str]) -> None:
    """Refuse an argument that is none of those known.

    Raises:
        MtloraError: it is not; with the argument's name and all that are.
    """
    if value not in known:
        raise MtloraError(f"{what}: {value!r} is unknown; known: {', '.join(known)}")
