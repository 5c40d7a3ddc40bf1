"""The catalogue of known plugin packages, ``registry.yaml``: what could be installed."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .component import Kind
from .recipe.check import validated
from .recipe.files import read_file
from .recipe.node import Places

Tier = Literal["first-party", "known"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CataloguePart(_Entry):
    """A part that a package offers."""

    kind: Kind
    name: str
    summary: str
    paper: str = ""


class CataloguePackage(_Entry):
    """A package that offers parts."""

    name: str
    """Its distribution's name, for ``pip install``."""

    tier: Tier
    """``first-party``: developed with mtlora. ``known``: somebody else's."""

    summary: str
    parts: tuple[CataloguePart, ...]


class Catalogue(_Entry):
    """Every package that is known, installed or not."""

    packages: tuple[CataloguePackage, ...] = ()

    @classmethod
    def read(cls, path: Path | None = None) -> Catalogue:
        """Read the catalogue.

        Args:
            path: The file; None reads the one that comes with the project.

        Raises:
            RecipeError: the file does not hold to its form.
        """
        path = path or _shipped()
        node = read_file(path, path.name)
        return validated(cls, node.plain(), Places.of(node).where)

    def offers(self, kind: str, name: str) -> list[str]:
        """Return the packages that have a part of this kind and name."""
        return [
            package.name
            for package in self.packages
            if any((part.kind, part.name) == (kind, name) for part in package.parts)
        ]

    def nearest(self, kind: str, name: str) -> str | None:
        """Return the name of the part of this kind that is most like ``name``."""
        names = [part.name for part in self._parts() if part.kind == kind]
        return next(iter(get_close_matches(name, names, n=1)), None)

    def first_party(self) -> frozenset[str]:
        """Return the names of the packages that are developed with mtlora."""
        return frozenset(each.name for each in self.packages if each.tier == "first-party")

    def _parts(self) -> Iterator[CataloguePart]:
        for package in self.packages:
            yield from package.parts


def _shipped() -> Path:
    core = Path(__file__).parent
    # A wheel carries the file inside the package; a checkout has it at its root.
    inside = core / "registry.yaml"
    return inside if inside.is_file() else core.parent / "registry.yaml"
