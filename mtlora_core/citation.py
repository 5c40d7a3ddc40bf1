"""The papers of parts, as BibTeX.

A plugin package may hold ``references.bib``; the entry whose ``eprint`` is a part's paper, or whose
``url`` it is, is the part's. A paper that has none there gets an entry with what is known of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from .component import Component
from .errors import MtloraError, RecipeError
from .recipe import Recipe
from .registry import Registry

REFERENCES = "references.bib"


def citations(components: Iterable[Component]) -> list[str]:
    """Return a BibTeX entry for each paper of the parts, and one for mtlora itself, each once."""
    entries = [entry for part in components if part.paper for entry in [_entry(part)]]
    return list(dict.fromkeys([*entries, _own()]))


def components_of(recipe: Recipe, registry: Registry) -> list[Component]:
    """Return the description of every part of a recipe, without reading its options.

    Raises:
        RecipeError: parts are not installed, every one of them.
    """
    found, problems = [], []
    for keys, spec in recipe.parts():
        kind = "regularizer" if keys[0] == "regularizers" else str(keys[0])
        try:
            found.append(registry.get(kind, spec.use).component)
        except MtloraError as error:
            problems += [f"{recipe.where(*keys, 'use')}: {problem}" for problem in error.problems]
    if problems:
        raise RecipeError(problems)
    return found


def _entry(part: Component) -> str:
    eprint = part.paper.removeprefix("arXiv:")
    for entry in _references(part.options.split(".")[0].partition(":")[0]):
        if re.search(rf"(?:eprint|url)\s*=\s*[{{\"]{re.escape(eprint)}[}}\"]", entry):
            return entry
    return _bare(part.paper)


def _references(package: str) -> list[str]:
    """Return the entries of a package's references."""
    spec = find_spec(package)
    folders = (spec and spec.submodule_search_locations) or []
    path = next((Path(folder, REFERENCES) for folder in folders), None)
    if path is None or not path.is_file():
        return []
    return [entry.strip() for entry in re.split(r"(?m)^(?=@)", path.read_text("utf-8")) if entry]


def _bare(paper: str) -> str:
    key = re.sub(r"\W+", "-", paper).strip("-")
    if paper.startswith("arXiv:"):
        eprint = paper.removeprefix("arXiv:")
        return f"@misc{{{key},\n  eprint = {{{eprint}}},\n  archiveprefix = {{arXiv}}\n}}"
    return f"@misc{{{key},\n  howpublished = {{{paper}}}\n}}"


def _own() -> str:
    return (
        "@software{mtlora,\n  title = {mtlora: composable multi-task low-rank adaptation},\n"
        f"  version = {{{version('mtlora')}}}\n}}"
    )
