"""The options of a part: data, frozen, without extras, checked by their types."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    NonNegativeFloat,
    PositiveInt,
    ValidationError,
)

from .sites import BackboneShape, Site


class Options(BaseModel):
    """Base of every part's options.

    The type of a field is its check, its docstring the help that ``mtlora plugins info`` and
    ``mtlora schema`` show. A run keeps them as plain data, so what is written out has to read
    back the same, in every process: no aliases, no sets, no validator that changes its own result.
    """

    # Otherwise an infinity in a Sequence would be written out as null.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )

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


ELSEWHERE = Path(os.devnull)
"""A folder with nothing in it: options that are written out do not depend on where they are."""


def rewriting_problems(options: Options) -> Iterator[tuple[str, str]]:
    """Yield ``(option, reason)`` for what is not the same once written out and read again."""
    for name, value in options.model_dump().items():
        if _unordered(value):
            yield name, "is a set, whose order changes from process to process; take a tuple"
    written = options.model_dump(mode="json")
    try:
        again = type(options).model_validate(_moved(written))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            name = str(detail["loc"][0]) if detail["loc"] else "?"
            found = f"is written out as {written.get(name)!r}, which is refused when it is read"
            yield name, f"{found} ({detail['msg']}); an option reads what it writes, by its name"
        return
    for name in type(options).model_fields:
        before, after = getattr(options, name), getattr(again, name)
        if not _alike(before, after):
            found = f"is {before!r}, is written out as {written.get(name)!r}, and reads back as"
            yield name, f"{found} {after!r}; a validator leaves what it gave before as it is"


def _alike(one: Any, other: Any) -> bool:
    """Whether two values mean the same to a part.

    A default is not validated, so a tuple may come back as the list that it is written out as.
    """
    if isinstance(one, BaseModel) and type(one) is type(other):
        one, other = dict(one), dict(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other or (one != one and other != other))  # only NaN is not itself


def _unordered(value: Any) -> bool:
    """Whether there is a set in what :meth:`Options.model_dump` gave."""
    if isinstance(value, Mapping):
        return any(map(_unordered, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_unordered, value))
    return isinstance(value, Set)


def _moved(value: Any) -> Any:
    """Return what options were written out as, as a recipe that lies elsewhere has it."""
    if isinstance(value, Mapping):
        return {key: _moved(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_moved(entry) for entry in value]
    return RecipeText(value, ELSEWHERE) if isinstance(value, str) else value
