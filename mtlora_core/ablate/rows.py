"""The rows of an ablation: a recipe and what is changed in it, not resolved yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import product
from pathlib import Path

from ..errors import RecipeError
from ..recipe import Recipe, load_recipe
from ..recipe.node import Node, Position
from ..registry import Registry
from ..resolve import Plan, resolve
from .definition import AblationOptions, source_of
from .leaving import left_out
from .settings import Setting, setting, settings_of


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    source: str | Path
    """The file of a recipe, or a bundled one's name."""
    common: tuple[Setting, ...] = ()
    """What the ablation changes in every row."""
    own: tuple[Setting, ...] = ()
    """What makes this row, in the order it is applied in."""

    @property
    def changes(self) -> Mapping[str, str]:
        """What makes this row, by key; of several changes of one key the last."""
        return {each.key: each.shown for each in self.own}

    def recipe(self, more: Sequence[Setting] = ()) -> Recipe:
        """Return the row's recipe, with ``more`` changed in it.

        Raises:
            RecipeError: it cannot be read, or changes lead nowhere.
        """
        settings = (*self.common, *self.own, *more)
        return load_recipe(self.source, [each.override for each in settings if each.override])

    def plan(self, registry: Registry, more: Sequence[Setting] = ()) -> Plan:
        """Return the row's plan.

        Raises:
            MtloraError: it cannot work, and why.
        """
        return resolve(self.recipe(more), registry)


def rows_of(options: AblationOptions, root: Node, registry: Registry) -> list[Row]:
    """Return the rows that an ablation describes.

    Raises:
        MtloraError: a row cannot be made of what is written.
    """
    common = tuple(settings_of(_at(root, "set")))
    whole = _written(options, root, common)
    if options.leave_one_out:
        whole = list(_left_out(whole[0], _at(root, "leave_one_out"), registry))
    swaps, several = _swaps(options, root), len(whole) > 1
    combined = [row for each in whole for row in _swapped(each, swaps, several)]
    _require_distinct(combined)
    return combined


def _left_out(whole: Row, plain: Node | None, registry: Registry) -> Iterator[Row]:
    """Yield the row itself, and a row without each of its parts."""
    yield whole
    for each in left_out(whole.plan(registry), list(settings_of(plain)), registry):
        yield replace(whole, name=each.label, own=(each,))


def _written(options: AblationOptions, root: Node, common: tuple[Setting, ...]) -> list[Row]:
    recipe = _at(root, "recipe")
    if options.rows is not None:
        reader = _Reader(_list(root, "rows"), recipe, common)
        return [reader.row(index) for index in range(len(options.rows))]
    assert recipe is not None, "the definition was checked"
    source = source_of(recipe)
    return [Row(load_recipe(source).name, source, common)]


@dataclass(frozen=True)
class _Reader:
    """Reads the rows of a file, each after the one that it begins with."""

    nodes: Sequence[Node]
    recipe: Node | None
    common: tuple[Setting, ...]

    def row(self, index: int, passed: tuple[int, ...] = ()) -> Row:
        """Return a row; ``passed`` are those that come from it."""
        entries = self.nodes[index].entries or {}
        name, own = str(entries["name"].value), tuple(settings_of(entries.get("set")))
        if "from" in entries:
            start = self.row(self._index(entries["from"], (*passed, index)), (*passed, index))
            return replace(start, name=name, own=(*start.own, *own))
        recipe = entries.get("recipe", self.recipe)
        assert recipe is not None, "the definition was checked"
        return Row(name, source_of(recipe), self.common, own)

    def _index(self, node: Node, passed: tuple[int, ...]) -> int:
        names = [str((each.entries or {})["name"].value) for each in self.nodes]
        if node.value not in names:
            close = get_close_matches(str(node.value), names, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"rows: {', '.join(names)}"
            raise RecipeError(f"{node.at}: from: there is no row {node.value!r}; {advice}")
        if names.index(node.value) in passed:
            raise RecipeError(f"{node.at}: from: {node.value!r} comes back to this row")
        return names.index(node.value)


def _swaps(options: AblationOptions, root: Node) -> list[list[Setting]]:
    swap = _at(root, "swap")
    entries = (swap.entries if swap else None) or {}
    swaps = [[setting(key, value) for value in node.value] for key, node in entries.items()]
    if options.tasks:
        swaps.append([_size(node) for node in _list(root, "tasks")])
    return swaps


def _size(node: Node) -> Setting:
    at = node.at or Position("tasks")
    made = setting("subset.count", Node(node.value, at))
    return replace(made, title=f"{node.value} task{'s' * (node.value != 1)}")


def _swapped(row: Row, swaps: Sequence[Sequence[Setting]], several: bool) -> Iterator[Row]:
    """Yield a row for each combination of the swaps' values; what never varies needs no name."""
    varied = {values[0].key for values in swaps if len(values) > 1}
    for combination in product(*swaps):
        labels = [each.label for each in combination if each.key in varied]
        named = [row.name] if several or not labels else []
        name = " · ".join([*named, *labels])
        yield replace(row, name=name, own=(*row.own, *combination))


def _require_distinct(rows: Sequence[Row]) -> None:
    names = [row.name for row in rows]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise RecipeError([f"two rows are called {name!r}; give each a name" for name in twice])


def _at(root: Node, key: str) -> Node | None:
    return (root.entries or {}).get(key)


def _list(root: Node, key: str) -> list[Node]:
    node = _at(root, key)
    return list(node.value) if node is not None else []
