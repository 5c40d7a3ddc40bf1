"""A recipe's file, and the recipes that it extends, become one tree of nodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ..errors import RecipeError
from ..options import RecipeText, located
from .bundled import bundled_recipes
from .merge import merged, normalized
from .node import Node, Position
from .text import read_yaml

BYTES = 1 << 20
"""How large a recipe's file may be."""


def read_file(path: Path, shown: str) -> Node:
    """Read one file, without what it extends.

    Args:
        path: The file.
        shown: Its name in messages.

    Raises:
        RecipeError: it cannot be read, or is no mapping.
    """
    text = _text(path, shown)
    # Absolute now: a path in the recipe keeps its meaning if the program changes its folder.
    folder = path.absolute().parent
    node = read_yaml(text, lambda line, column: Position(shown, line, column), folder)
    if node is None:
        raise RecipeError(f"{shown}: is empty; a recipe names at least its parts")
    if node.entries is None:
        raise RecipeError(f"{node.at}: a recipe is a mapping of keys to values, not {_noun(node)}")
    return node


def _noun(node: Node) -> str:
    return "a list" if isinstance(node.value, list) else repr(node.value)


def _text(path: Path, shown: str) -> str:
    if path.is_dir():
        raise RecipeError(f"{shown}: is a folder; name a recipe's file{_inside(path)}")
    try:
        with path.open("rb") as stream:
            data = stream.read(BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(f"{shown}: no such file{_nearest(path)}") from None
    except OSError as error:
        raise RecipeError(f"{shown}: cannot be read: {error.strerror or error}") from None
    if len(data) > BYTES:
        raise RecipeError(f"{shown}: is larger than 1 MiB, which no recipe is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{shown}: is not UTF-8 text (byte {error.start})") from None
    if "\0" in text:
        raise RecipeError(f"{shown}: is a binary file, not YAML text")
    return text


def _inside(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("*.yaml"))[:3]
    return f", such as {' or '.join(names)}" if names else ""


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; nor is there a folder {path.parent.name!r}"
    names = [each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml")]
    close = get_close_matches(path.name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def find_bundled(name: str) -> Path:
    """Return the file of a bundled recipe.

    Raises:
        RecipeError: none or several have this name.
    """
    known = bundled_recipes()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        listing = ", ".join(sorted(known)) or "none"
        advice = f"did you mean {close[0]!r}?" if close else f"bundled recipes: {listing}"
        raise RecipeError(f"no recipe {name!r} is bundled; {advice}")
    if len(known[name]) > 1:
        paths = " and ".join(map(str, known[name]))
        raise RecipeError(f"the recipe {name!r} is bundled twice, as {paths}; write a path")
    return known[name][0]


def is_bare(text: str) -> bool:
    """Whether ``text`` could be a bundled recipe's name: neither a folder nor a suffix in it."""
    return bool(text) and Path(text).name == text and not Path(text).suffix


class Layers:
    """Reads recipes with all they extend; every problem is kept, not only the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._read: dict[Path, Node] = {}

    def file(self, path: Path, shown: str) -> Node:
        """Return a file's recipe, merged over those it extends."""
        return self._file(path, shown, ())

    def tree(self, root: Node) -> Node:
        """Return a recipe that is no file, merged over those it extends."""
        return self._over_bases(normalized(root), ())

    def _file(self, path: Path, shown: str, chain: tuple[tuple[Path, str], ...]) -> Node:
        real = path.resolve()
        # A file that many others extend is read once, or a few lines could ask for billions.
        if real not in self._read:
            try:
                root = normalized(read_file(path, shown))
            except RecipeError as error:
                self.problems += error.problems
                root = Node({})
            self._read[real] = self._over_bases(root, (*chain, (real, shown)))
        return self._read[real]

    def _over_bases(self, root: Node, chain: tuple[tuple[Path, str], ...]) -> Node:
        entries = dict(root.entries or {})
        extends = entries.pop("extends", None)
        own = Node(entries, root.at)
        base = Node({})
        for name in self._names(extends):
            try:
                path = _located(name)
                shown = _shown(path)
                _refuse_cycle(path, shown, chain)
            except RecipeError as error:
                self.problems += [f"{_prefix(name)}extends: {line}" for line in error.problems]
            else:
                base = merged(base, self._file(path, shown, chain))
        return merged(base, own)

    def _names(self, extends: Node | None) -> Iterator[Node]:
        if extends is None or extends.value is None:
            return
        for name in extends.value if isinstance(extends.value, list) else [extends]:
            if isinstance(name.value, RecipeText):
                yield name
            else:
                self.problems.append(
                    f"{_prefix(name)}extends: must be a path, a bundled recipe's name or a list "
                    f"of them, not {name.plain()!r}"
                )


def _located(name: Node) -> Path:
    path = find_bundled(name.value) if is_bare(name.value) else located(name.value)
    assert isinstance(path, Path)
    if not path.exists():
        raise RecipeError(f"{_shown(path)}: no such file{_nearest(path)}")
    return path


def _refuse_cycle(path: Path, shown: str, chain: tuple[tuple[Path, str], ...]) -> None:
    passed = [real for real, _ in chain]
    if path.resolve() in passed:
        loop = [name for _, name in chain[passed.index(path.resolve()) :]]
        raise RecipeError(f"goes round in a circle: {' → '.join([*loop, shown])}")


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _prefix(node: Node) -> str:
    return f"{node.at}: " if node.at else ""
