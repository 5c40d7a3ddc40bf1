"""The installed plugins: their parts by kind and name, and what is wrong with the others."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from .component import Component, problems_of
from .errors import PluginError, RecipeError
from .hookspecs import GROUP, manager
from .origin import Origin

if TYPE_CHECKING:
    # Its pydantic models are made only when a hint or a tier is asked for.
    from .catalogue import Catalogue

UNPACKAGED = "0+unpackaged"
"""The version of parts that were handed over in Python rather than installed."""

OBSERVING = (
    "mtlora_run_started",
    "mtlora_step",
    "mtlora_evaluated",
    "mtlora_run_finished",
)


@dataclass(frozen=True)
class Installed:
    """A part and where it comes from."""

    component: Component
    package: str
    """The distribution's name, or the name it was handed over by."""
    version: str
    folder: Path | None
    """The plugin's package folder, its file where it is a single module, None for an object."""

    @property
    def title(self) -> str:
        """Name, package and version, as messages say them."""
        return f"{self.package}/{self.component.name} ({self.version})"

    @property
    def origin(self) -> Origin:
        """What says what is wrong with the part."""
        return Origin.of(self.component, self.package)


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found, loaded or not."""

    name: str
    """The entry point's name."""
    package: str
    version: str
    module: str | None
    """The module it is in; None for an object that was handed over."""
    load: Callable[[], object] = field(repr=False)

    @property
    def names(self) -> frozenset[str]:
        """The names by which it may be asked for, in one spelling."""
        return frozenset({normal(self.name), normal(self.package)})


@dataclass(frozen=True)
class Observer:
    """A plugin that observes runs."""

    plugin: Plugin
    loaded: object = field(repr=False)
    hooks: tuple[str, ...]
    """What it hears of, of :data:`OBSERVING`."""


def normal(name: str) -> str:
    """Return a distribution's name in the one spelling that package indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Registry:
    """Parts by kind and name.

    Args:
        plugins: Modules or objects with hooks, by the package name they stand for; for parts
            that are not packaged, as in a notebook or a test.
        catalogue: The known packages; None reads ``registry.yaml`` when it is first needed.

    Attributes:
        broken: Why a plugin's parts are not there, by package. An error only for a recipe that
            names the plugin.
        left_out: Which setting left an installed plugin out, by package.
    """

    def __init__(
        self, plugins: Mapping[str, object] | None = None, *, catalogue: Catalogue | None = None
    ) -> None:
        self.broken: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self._parts: dict[tuple[str, str], list[Installed]] = {}
        self._observers: dict[str, Observer] = {}
        self._loaded: list[Plugin] = []
        self._manager = manager()
        if catalogue is not None:
            self.catalogue = catalogue
        for name, plugin in (plugins or {}).items():
            self._add(_handed_over(name, plugin))

    @classmethod
    def discover(
        cls, plugins: Mapping[str, object] | None = None, *, external: bool = True
    ) -> Registry:
        """Load the installed plugins, each on its own: one that fails never stops another.

        The environment variable ``MTLORA_PLUGINS``, names of entry points or distributions with
        commas between, says which may be loaded; unset, all may.

        Args:
            plugins: More of them, that are not packaged, as for :class:`Registry`.
            external: Whether to load installed plugins that are not first-party.
        """
        registry = cls(plugins)
        allowed = _allowed(os.environ.get("MTLORA_PLUGINS"))
        for plugin in registry._admitted(_found(), allowed, external):
            registry._add(plugin)
        return registry

    @cached_property
    def catalogue(self) -> Catalogue:
        """The known packages."""
        from .catalogue import Catalogue

        return Catalogue.read()

    def parts(self, kind: str | None = None) -> list[Installed]:
        """Return the installed parts, all or of one kind, by kind and name."""
        found = [part for group in self._parts.values() for part in group]
        return sorted(
            (part for part in found if kind in (None, part.component.kind)),
            key=lambda part: (part.component.kind, part.component.name, part.package),
        )

    def packages(self) -> dict[str, str]:
        """Return the versions of the packages whose plugins were loaded, by name."""
        return {plugin.package: plugin.version for plugin in self._loaded}

    def observing(self) -> list[Observer]:
        """Return the installed plugins that observe runs, by name."""
        distinct = {id(each): each for each in self._observers.values()}.values()
        return sorted(distinct, key=lambda each: (each.plugin.name, each.plugin.package))

    def get(self, kind: str, name: str) -> Installed:
        """Return a part.

        Args:
            kind: One of :data:`~mtlora_core.component.KINDS`.
            name: The part's name, or ``package/name``, which is always unambiguous.

        Raises:
            RecipeError: no such part is installed, or several are.
            PluginError: the plugin that has it is broken.
        """
        package, slash, bare = name.rpartition("/")
        found = self._parts.get((kind, bare), [])
        if slash:
            found = [part for part in found if normal(part.package) == normal(package)]
        if not found:
            self._refuse_broken([package] if slash else self.catalogue.offers(kind, bare))
            raise RecipeError(self._missing(kind, bare, package))
        if len(found) > 1:
            titles = " and ".join(part.title for part in found)
            raise RecipeError(
                f"{kind} {bare!r} is in {len(found)} packages, {titles}; "
                f"write the package too, such as {found[0].package}/{bare}"
            )
        return found[0]

    def observers(self, names: Sequence[str]) -> tuple[object, ...]:
        """Return the plugins that a recipe names under ``observe``, each once.

        Args:
            names: Names of entry points or packages. See :func:`relay` for calling the plugins.

        Raises:
            RecipeError: a name is no installed plugin's, or the plugin observes nothing.
            PluginError: a plugin is broken.
        """
        found: dict[int, object] = {}
        problems: list[str] = []
        for name in names:
            try:
                observer = self._observer(name)
                found[id(observer)] = observer.loaded
            except RecipeError as error:
                problems += error.problems
        if problems:
            raise RecipeError(problems)
        return tuple(found.values())

    def _observer(self, name: str) -> Observer:
        self._refuse_broken([name])
        found = self._observers.get(normal(name))
        if found is None:
            close = get_close_matches(normal(name), self._observers, n=1)
            known = ", ".join(sorted(self._observers)) or "none"
            advice = f"did you mean {close[0]!r}?" if close else f"installed observers: {known}"
            raise RecipeError(f"no plugin {name!r} observes runs; {advice}")
        return found

    def _admitted(
        self, plugins: Iterable[Plugin], allowed: frozenset[str] | None, external: bool
    ) -> Iterable[Plugin]:
        first_party = None if external else self.catalogue.first_party()
        unmet = set(allowed or ())
        for plugin in plugins:
            unmet -= plugin.names
            if allowed is not None and not plugin.names & allowed:
                self.left_out[plugin.package] = "since MTLORA_PLUGINS does not list it"
            elif first_party is not None and plugin.package not in first_party:
                self.left_out[plugin.package] = "since external plugins are switched off"
            else:
                yield plugin
        for name in sorted(unmet):
            self.broken[name] = "MTLORA_PLUGINS lists it, and it is not installed"

    def _add(self, plugin: Plugin) -> None:
        try:
            loaded = plugin.load()
            hooks = self._hooks(loaded, f"{plugin.package}:{plugin.name}")
            components = _components(hooks)
        # A plugin's code may fail in any way, and may even ask Python to stop.
        except (Exception, SystemExit) as error:
            reason = str(error) if isinstance(error, PluginError) else _told(error)
            before = self.broken.get(plugin.package)
            self.broken[plugin.package] = f"{before}; {reason}" if before else reason
            return
        folder = _folder(plugin.module)
        for component in components:
            part = Installed(component, plugin.package, plugin.version, folder)
            self._parts.setdefault((component.kind, component.name), []).append(part)
        self._loaded.append(plugin)
        if heard := tuple(name for name in OBSERVING if name in hooks):
            self._observers |= dict.fromkeys(plugin.names, Observer(plugin, loaded, heard))

    def _hooks(self, plugin: object, name: str) -> dict[str, Callable[..., Any]]:
        """Return a plugin's own functions by hook, or leave no trace of it."""
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except Exception:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise
        return {
            caller.name: each.function
            for caller in self._manager.get_hookcallers(plugin) or ()
            for each in caller.get_hookimpls()
            if each.plugin is plugin
        }

    def _refuse_broken(self, packages: Iterable[str]) -> None:
        broken = {normal(name): (name, reason) for name, reason in self.broken.items()}
        for package in map(normal, packages):
            if package in broken:
                name, reason = broken[package]
                raise PluginError(f"the plugin {name!r} is broken: {reason}")

    def _missing(self, kind: str, name: str, package: str) -> str:
        offering = [each for each in self.catalogue.offers(kind, name) if package in ("", each)]
        for each in [package, *offering]:
            if each in self.left_out:
                return f"{kind} {name!r} is not loaded: {each} is left out, {self.left_out[each]}"
        if offering and not any(each in self.packages() for each in offering):
            one = offering[0]
            return f"{kind} {name!r} is not installed; package {one} offers it: pip install {one}"
        whose = f" in package {package!r}" if package else ""
        return f"{kind} {name!r} is not installed{whose}; {self._advice(kind, name, package)}"

    def _advice(self, kind: str, name: str, package: str) -> str:
        names = dict.fromkeys(part.component.name for part in self.parts(kind))
        elsewhere = [part for part in self.parts() if part.component.name == name]
        if package and (same := [part for part in elsewhere if part.component.kind == kind]):
            return f"it is in {' and '.join(part.package for part in same)}"
        if close := get_close_matches(name, names, n=1):
            return f"did you mean {close[0]!r}?"
        if known := self.catalogue.nearest(kind, name):
            one = self.catalogue.offers(kind, known)[0]
            return f"did you mean {known!r} of package {one}? pip install {one}"
        if elsewhere:
            return f"{name!r} is a part of kind {elsewhere[0].component.kind}"
        broken = f"; broken plugins: {', '.join(self.broken)}" if self.broken else ""
        return f"installed: {', '.join(names) or 'none'}{broken}"


def relay(plugins: Iterable[object]) -> pluggy.HookRelay:
    """Return the hooks of these plugins and of no others.

    ``relay(plan.observers).mtlora_step(folder=folder, record=record)`` calls each with the
    arguments that it takes, as pluggy does.
    """
    relaying = manager()
    for plugin in plugins:
        relaying.register(plugin)
    return relaying.hook


def _components(hooks: Mapping[str, Callable[..., Any]]) -> list[Component]:
    if not hooks:
        raise PluginError("it implements no hook of mtlora")
    given = hooks["mtlora_components"]() if "mtlora_components" in hooks else []
    components = list(given)
    problems = [
        line
        for each in components
        for line in (
            problems_of(each)
            if isinstance(each, Component)
            else [f"mtlora_components gave {each!r}, which is no Component"]
        )
    ]
    names = [(each.kind, each.name) for each in components if isinstance(each, Component)]
    problems += [f"{k} {n!r}: described twice" for k, n in {*names} if names.count((k, n)) > 1]
    if problems:
        raise PluginError("; ".join(problems))
    return components


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _folder(module: str | None) -> Path | None:
    for name in ((module or "").partition(".")[0], module or ""):
        # A namespace package has no file of its own; the module in it has.
        if file := getattr(sys.modules.get(name), "__file__", None):
            path = Path(file)
            return path.parent if path.name == "__init__.py" else path
    return None


def _allowed(listing: str | None) -> frozenset[str] | None:
    if listing is None:
        return None
    return frozenset(normal(name.strip()) for name in listing.split(",") if name.strip())


def _found() -> list[Plugin]:
    entries = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    return [_plugin(entry) for entry in entries]


def _plugin(entry: EntryPoint) -> Plugin:
    # Each access to `dist.name` or `dist.version` would parse the metadata again.
    metadata = entry.dist.metadata if entry.dist else {"Name": entry.name, "Version": UNPACKAGED}
    return Plugin(entry.name, metadata["Name"], metadata["Version"], entry.module, entry.load)


def _handed_over(name: str, plugin: object) -> Plugin:
    module = plugin.__name__ if isinstance(plugin, ModuleType) else None
    return Plugin(name, name, UNPACKAGED, module, lambda: plugin)
