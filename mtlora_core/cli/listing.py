"""Installed and known parts as lines of text.

Not rich: a thousand parts are to be listed in well under a second, and searched with grep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ..component import KINDS
from ..registry import Installed, Observer, Registry, normal

if TYPE_CHECKING:
    from ..catalogue import CataloguePackage

WIDEST = 24
"""Columns that a name may take; a longer one pushes its own line only."""


def overview(registry: Registry, width: int) -> Iterator[str]:
    """Yield what is installed, by kind and package; what is broken; what else there is."""
    yield from installed(registry.parts(), width)
    observers = {each.plugin.name: _observer(each) for each in registry.observing()}
    yield from _section("observers", observers, width)
    yield from _section("broken", registry.broken, width)
    yield from _section("left out", registry.left_out, width)
    missing = {each.name: _offer(each) for each in not_installed(registry)}
    yield from _section("known, not installed", missing, width)


def installed(parts: Iterable[Installed], width: int) -> Iterator[str]:
    """Yield parts with their summaries, under a heading for each kind and package."""

    def place(part: Installed) -> tuple[int, str, str]:
        return KINDS.index(part.component.kind), part.package, part.component.name

    def heading(part: Installed) -> str:
        return f"{part.component.kind} ({part.package} {part.version})"

    for title, group in groupby(sorted(parts, key=place), heading):
        summaries = {part.component.name: part.component.summary for part in group}
        yield from _section(title, summaries, width)


def not_installed(registry: Registry) -> list[CataloguePackage]:
    """Return the known packages that are not there at all."""
    there = {normal(name) for name in (*registry.packages(), *registry.broken, *registry.left_out)}
    return [each for each in registry.catalogue.packages if normal(each.name) not in there]


def details(part: Installed, width: int) -> Iterator[str]:
    """Yield all there is to know of a part: what it does, where from, and its options.

    Raises:
        PluginError: its options cannot be loaded.
    """
    from ..declared import options_class
    from ..reference import describe

    component = part.component
    yield f"{component.kind} {component.name} ({part.package} {part.version})"
    yield from _indented(component.summary, 2, width)
    if component.paper:
        yield f"  paper: {component.paper}"
    if component.capabilities:
        yield from _indented(f"capabilities: {_capabilities(component.capabilities)}", 2, width)
    rows = describe(options_class(part))
    yield "  options:" if rows else "  options: none"
    for name, key in rows.items():
        default = "" if key.default is None else f" = {key.default}"
        yield f"    {name}: {key.type}{default}"
        yield from _indented(key.help, 8, width)
    yield ""


def observer_details(observer: Observer) -> Iterator[str]:
    """Yield all there is to know of an observer: what it hears of, and how a recipe names it."""
    plugin = observer.plugin
    yield f"observer {plugin.name} ({plugin.package} {plugin.version})"
    yield f"  hooks: {' '.join(observer.hooks)}"
    yield f"  in a recipe: observe: [{plugin.name}]"
    yield ""


def _section(title: str, rows: Mapping[str, str], width: int) -> Iterator[str]:
    if not rows:
        return
    yield title
    column = 4 + min(WIDEST, max(map(len, rows)))
    for name, text in rows.items():
        first, *rest = wrap(text, max(width - column, 20)) or [""]
        yield f"  {name:<{column - 4}}  {first}".rstrip()
        yield from (" " * column + line for line in rest)
    yield ""


def _indented(text: str, indent: int, width: int) -> Iterator[str]:
    yield from (" " * indent + line for line in wrap(text, max(width - indent, 20)))


def _capabilities(capabilities: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in capabilities.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) or "none" if isinstance(value, tuple) else str(value)


def _observer(observer: Observer) -> str:
    heard = ", ".join(name.removeprefix("mtlora_") for name in observer.hooks)
    return f"{observer.plugin.package} {observer.plugin.version}: hears of {heard}"


def _offer(package: CataloguePackage) -> str:
    names = ", ".join(f"{part.kind} {part.name}" for part in package.parts)
    return f"{package.summary}: {names}; pip install {package.name}"
