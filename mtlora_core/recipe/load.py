"""From a recipe's text, what it extends and the changes asked for, to the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from .check import validated
from .files import Layers, find_bundled, is_bare
from .merge import is_part
from .model import PartSpec, Recipe, part_of
from .node import Keys, Node, Places, node_of
from .overrides import Override, read_override


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str | Override] = (),
    *,
    folder: Path | None = None,
) -> Recipe:
    """Read a recipe.

    Args:
        source: A file, the name of a bundled recipe where no such file exists, or a mapping.
        overrides: Changes, ``"router.groups=4"`` or ``"regularizers=+balance"``, applied in order;
            values are YAML.
        folder: What paths in a mapping are relative to; None: the current folder, as for those in
            overrides.

    Raises:
        RecipeError: every problem that can be known without looking a part up.
    """
    layers = Layers()
    root = _root(source, layers, folder or Path.cwd())
    changes = list(_changes(overrides, layers.problems))
    if not layers.problems:
        root = _changed(root, changes, layers.problems)
    if layers.problems:
        raise RecipeError(layers.problems)
    return _recipe(root)


def _root(source: str | Path | Mapping[str, Any], layers: Layers, folder: Path) -> Node:
    if isinstance(source, Mapping):
        return layers.tree(node_of(source, folder))
    path = Path(source)
    if is_bare(str(source)) and not path.exists():
        path = find_bundled(str(source))
    return layers.file(path, str(path))


def _changes(overrides: Sequence[str | Override], problems: list[str]) -> Iterator[Override]:
    for each in overrides:
        try:
            yield read_override(each, Path.cwd()) if isinstance(each, str) else each
        except RecipeError as error:
            problems += error.problems


def _changed(root: Node, changes: Sequence[Override], problems: list[str]) -> Node:
    for change in changes:
        try:
            root = change.apply(root)
        except RecipeError as error:
            problems += error.problems
    return root


def _recipe(root: Node) -> Recipe:
    places = Places.of(root)
    data = {key: _with_parts(entry, (key,)) for key, entry in (root.entries or {}).items()}
    recipe = validated(Recipe, data, places.where)
    recipe._places = places
    return recipe


def _with_parts(node: Node, keys: Keys) -> Any:
    if keys == ("regularizers",) and isinstance(node.value, list):
        return [_with_parts(entry, (*keys, index)) for index, entry in enumerate(node.value)]
    value = node.plain()
    if is_part(keys) and node.carried:
        try:
            spec = part_of(value)
        except ValueError:
            return value  # told with every other problem when the recipe is checked
        assert isinstance(spec, PartSpec)
        return replace(spec, carried=node.carried)
    return value
