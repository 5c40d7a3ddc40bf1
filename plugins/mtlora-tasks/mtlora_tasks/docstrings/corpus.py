"""What is taken from a standard library, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["module", "class", "function", "method"]
Default = Literal["None", "bool", "int", "str", "other"]


@dataclass(frozen=True)
class Documented:
    """An object with a docstring, and what its code says of it."""

    module: str
    name: str
    """Inside its module, such as ``Reader.close``; a module's own dotted name."""
    kind: Kind
    text: str
    """The first paragraph of the docstring, white space collapsed."""
    returns: bool | None = None
    """Whether it returns a value; None where the body does not tell, or there is none."""
    optional: bool | None = None
    """Whether it has defaults or starred parameters; None for modules and classes."""
    defaults: tuple[tuple[str, Default], ...] = ()
    """Parameters with a default, and what kind of value that is."""

    @property
    def short(self) -> str:
        """The last piece of the name, without the underscores around it."""
        return self.name.rpartition(".")[2].strip("_")


@dataclass(frozen=True)
class Raised:
    """The message of a ``raise`` and the exception's name."""

    module: str
    text: str
    type: str


@dataclass(frozen=True)
class Corpus:
    """Everything that tasks are made from."""

    documented: tuple[Documented, ...]
    raised: tuple[Raised, ...]

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return the corpus as JSON values; :meth:`from_json` takes it back."""
        return {
            "documented": [asdict(item) for item in self.documented],
            "raised": [asdict(item) for item in self.raised],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Iterable[dict[str, Any]]]) -> Corpus:
        """Return the corpus that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError: it is none of ours.
        """
        documented = (
            Documented(**{**item, "defaults": tuple((n, d) for n, d in item["defaults"])})
            for item in value["documented"]
        )
        return cls(tuple(documented), tuple(Raised(**item) for item in value["raised"]))
