"""The options of a part: data, frozen, without extras, checked by their types."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, NonNegativeFloat

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


class PenaltyOptions(Options):
    """Base of a penalty's options."""

    weight: NonNegativeFloat = 1.0
    """Factor of the penalty in the loss; the penalty is a mean over sites."""


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


def describe(options: type[Options]) -> Mapping[str, tuple[str, str, str]]:
    """Return each option's type, default and help, as ``mtlora plugins info`` shows them."""
    rows = {}
    for name, field in options.model_fields.items():
        default = (
            "required"
            if field.is_required()
            else repr(field.get_default(call_default_factory=True))
        )
        kind = getattr(field.annotation, "__name__", None)
        if kind is None or getattr(field.annotation, "__args__", None):
            kind = str(field.annotation).replace("typing.", "")
        rows[name] = (kind, default, field.description or "")
    return rows
