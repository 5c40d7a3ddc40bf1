"""The options of a part: data, frozen, without extras, checked by their types."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, NonNegativeFloat, PositiveInt

from .sites import BackboneShape, Site


class Options(BaseModel):
    """Base of every part's options.

    The type of a field is its check, its docstring the help that ``mtlora plugins info`` and
    ``mtlora schema`` show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterable[tuple[str, str]]:
        """Yield ``(option, reason)`` for what cannot work with this backbone at these sites.

        Called by ``resolve`` once the sites are known, before torch is loaded. The reason says
        what was found and what would be right.
        """
        return ()


class BackboneOptions(Options):
    """Base of a backbone's options, its light side: describes the model without loading it."""

    @abstractmethod
    def shape(self) -> BackboneShape:
        """Describe the model from its configuration file.

        Raises:
            CompositionError: the configuration cannot be read, or its family is unknown.
        """

    @classmethod
    @abstractmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        """Describe a model that the user has built; for :func:`mtlora_core.attach`.

        Raises:
            CompositionError: the family is unknown.
        """


class MixedOptions(Options):
    """Base of the options of experts that a router weighs: says how many there are."""

    count: PositiveInt
    """Number e of experts."""


class RouterOptions(Options):
    """Base of a router's options."""

    def count_problems(self, experts: int) -> Iterable[tuple[str, str]]:
        """Yield ``(option, reason)`` for what cannot work over that many experts.

        Called by ``resolve`` where the recipe's experts have :class:`MixedOptions`.
        """
        return ()


class PenaltyOptions(Options):
    """Base of a penalty's options."""

    weight: NonNegativeFloat = 1.0
    """Factor of the penalty in the loss; the penalty is a mean over sites."""


Scope = Literal["per-matrix", "per-layer", "global"]
"""Over which parameters a task's gradient is one vector: each parameter tensor alone, those of a
transformer layer together, or all."""


class TransformOptions(Options):
    """Base of a gradient transform's options."""

    scope: Scope = "per-matrix"
    """Over which parameters a task's gradient is one vector: every parameter tensor alone (the
    stacked factors of a site's experts are one), those of a layer together, or all."""


class RecipeText(str):
    """A string of a recipe that remembers the folder it is relative to."""

    __slots__ = ("folder",)
    folder: Path

    def __new__(cls, value: str, folder: Path) -> RecipeText:
        """Return ``value``, written in a file of ``folder``."""
        text = super().__new__(cls, value)
        text.folder = folder
        return text


def located(value: Any) -> Any:
    """Return a string of a recipe as an absolute path; what is no string is left to the type."""
    if not isinstance(value, str):
        return value
    folder = value.folder if isinstance(value, RecipeText) else Path.cwd()
    return (folder / Path(value).expanduser()).resolve()


RecipePath = Annotated[Path, BeforeValidator(located)]
"""A path of a recipe: relative to the file it was written in, absolute once read."""
