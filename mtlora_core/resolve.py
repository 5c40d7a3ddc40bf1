"""A recipe and the installed parts become a plan, without torch and without a weight read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from .compatibility import Parts
from .declared import options_class
from .errors import CompositionError, MtloraError, PluginError, RecipeError
from .options import (
    BackboneOptions,
    MixedOptions,
    Options,
    RouterOptions,
    rewriting_problems,
)
from .plan import Bound, Plan
from .recipe import PartSpec, Recipe, validated
from .recipe.node import Keys
from .registry import Installed, Registry
from .sites import BackboneShape, Site

__all__ = ["Bound", "Plan", "resolve"]


def resolve(recipe: Recipe, registry: Registry, module: Any = None, *, data: bool = True) -> Plan:
    """Look up a recipe's parts, check their options, and whether they can work together.

    Args:
        recipe: What :func:`~mtlora_core.recipe.load_recipe` read.
        registry: The parts.
        module: A model of the user's own, for :func:`mtlora_core.attach`: its shape is read
            instead of a configuration's, and the options of backbone and tasks are not checked.
        data: Whether the tasks' options are checked; a trained model does without its data.

    Raises:
        RecipeError: a name or an option is not right, with every problem of this stage.
        PluginError: the only problems are plugins that break their contract.
        CompositionError: the only problems are parts that do not fit together.
    """
    report = _Report(recipe)
    _check_requirements(recipe, registry, report)
    _check_trackers(recipe, report)
    observers = _observers(recipe, registry, report)
    found = _found(recipe, registry, report)
    unchecked = _unchecked(module, data)
    bound = _bound(found, unchecked, report)
    checked = {keys: part for keys, part in bound.items() if keys not in unchecked}
    shape = _shape(bound.get(("backbone",)), module, report)
    sites = _sites(bound.get(("placement",)), shape, report)
    parts = _check_pairing(found, shape, registry, report)
    _check_count(bound, report)
    if shape is not None and sites is not None:
        report.unfitting(parts.site_problems(sites))
        _check_options(checked, shape, sites, report)
    report.finish()
    assert shape is not None  # or the report had problems
    assert sites is not None
    return Plan(
        recipe=_written_out(recipe, checked),
        backbone=bound["backbone",],
        placement=bound["placement",],
        experts=bound["experts",],
        router=bound.get(("router",)),
        regularizers=tuple(part for keys, part in bound.items() if len(keys) > 1),
        tasks=bound["tasks",],
        shape=shape,
        sites=sites,
        notices=tuple(report.notices),
        observers=observers,
    )


def _unchecked(module: Any, data: bool) -> set[Keys]:
    if module is not None:
        return {("backbone",), ("tasks",)}
    return set() if data else {("tasks",)}


@dataclass
class _Report:
    """The problems and notices of one recipe."""

    recipe: Recipe
    problems: list[str] = field(default_factory=list)
    kinds: set[type[MtloraError]] = field(default_factory=set)
    notices: list[str] = field(default_factory=list)

    def add(self, keys: Keys, reason: str, kind: type[MtloraError] = RecipeError) -> None:
        """Keep a problem of what stands at ``keys``."""
        self.problems.append(f"{self.recipe.where(*keys)}: {reason}")
        self.kinds.add(kind)

    def take(self, keys: Keys, error: MtloraError) -> None:
        """Keep the problems of an error that knows no place."""
        for problem in error.problems:
            self.add(keys, problem, type(error))

    def placed(self, error: RecipeError) -> None:
        """Keep the problems of an error that says their places."""
        self.problems += error.problems
        self.kinds.add(RecipeError)

    def unfitting(self, problems: Iterable[tuple[Keys, str]]) -> None:
        """Keep problems of parts that do not fit together."""
        for keys, reason in problems:
            self.add(keys, reason, CompositionError)

    def finish(self) -> None:
        """Raise every problem at once, as their own kind where they are of one."""
        if self.problems:
            kind = next(iter(self.kinds)) if len(self.kinds) == 1 else RecipeError
            raise kind(self.problems)


def _check_requirements(recipe: Recipe, registry: Registry, report: _Report) -> None:
    for index, text in enumerate(recipe.requires):
        reason = _unmet(text, registry.packages())
        if reason:
            report.add(("requires", index), reason)


def _check_trackers(recipe: Recipe, report: _Report) -> None:
    for index, tracker in enumerate(recipe.track):
        if find_spec(tracker) is None:
            report.add(("track", index), f"{tracker} is not installed: pip install {tracker}")


def _unmet(text: str, packages: Mapping[str, str]) -> str | None:
    # Imported where it is needed: most recipes require nothing.
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        return f"{text!r} is no requirement ({reason}); write such as 'mtlora-routers>=0.1,<1'"
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    try:
        installed = packages.get(requirement.name) or version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed: pip install '{text}'"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name} {installed} is installed, which is not {requirement.specifier}"


def _observers(recipe: Recipe, registry: Registry, report: _Report) -> tuple[object, ...]:
    try:
        return registry.observers(recipe.observe)
    except MtloraError as error:
        report.take(("observe",), error)
        return ()


def _found(recipe: Recipe, registry: Registry, report: _Report) -> dict[Keys, Installed]:
    found = {}
    for keys, spec in recipe.parts():
        try:
            found[keys] = registry.get(_kind(keys), spec.use)
        except MtloraError as error:  # every name that is wrong is told
            report.take((*keys, "use"), error)
    return found


def _kind(keys: Keys) -> str:
    return str(keys[0]).removesuffix("s") if len(keys) == 2 else str(keys[0])


def _bound(
    found: Mapping[Keys, Installed], unchecked: set[Keys], report: _Report
) -> dict[Keys, Bound]:
    """Return the parts whose options are right, or are not to be checked."""
    specs = dict(report.recipe.parts())
    bound = {}
    for keys, installed in found.items():
        try:
            with installed.origin.calling("its options"):
                options = _options(keys, installed, specs[keys], report, keys not in unchecked)
        except RecipeError as error:
            report.placed(error)
        except PluginError as error:
            report.take(keys, error)
        else:
            component = installed.component
            bound[keys] = Bound(component, options, installed.package, installed.version)
    return bound


def _options(
    keys: Keys, installed: Installed, spec: PartSpec, report: _Report, checked: bool
) -> Options:
    model = options_class(installed)
    dropped = _dropped(model, spec)
    written = {name: value for name, value in spec.options.items() if name not in dropped}
    report.notices += [
        f"{report.recipe.where(*keys, name)}: dropped; {reason}" for name, reason in dropped.items()
    ]
    if not checked:
        return model.model_construct(**written)
    options = validated(model, written, lambda *path: report.recipe.where(*keys, *path))
    for option, reason in rewriting_problems(options):
        broken = installed.origin.broken(f"option {option!r} {reason}")
        report.take((*keys, option), broken)
    return options


def _dropped(model: type[Options], spec: PartSpec) -> dict[str, str]:
    """Return the options that were written for another part and are not for this one, and why."""
    known = {name: v for name, v in spec.options.items() if name in model.model_fields}
    try:
        model.model_validate(known)
        refused = set()
    except ValidationError as error:
        refused = {each["loc"][0] for each in error.errors(include_url=False) if each["loc"]}
    reasons = {}
    for name, value in spec.options.items():
        if name in spec.carried and name not in known:
            reasons[name] = f"{spec.use!r} has no such option"
        elif name in spec.carried and name in refused:
            reasons[name] = f"{spec.use!r} does not take {value!r}"
    return reasons


def _shape(backbone: Bound | None, module: Any, report: _Report) -> BackboneShape | None:
    if backbone is None:
        return None
    options = backbone.options
    assert isinstance(options, BackboneOptions)
    try:
        return _described(backbone, options, module)
    except MtloraError as error:
        report.take(("backbone",), error)
        return None


def _described(backbone: Bound, options: BackboneOptions, module: Any) -> BackboneShape:
    what = "shape()" if module is None else "shape_of(module)"
    with backbone.origin.calling(what):
        found = options.shape() if module is None else type(options).shape_of(module)
    shape: BackboneShape = backbone.origin.gave(what, found, BackboneShape)
    return shape


def _sites(
    placement: Bound | None, shape: BackboneShape | None, report: _Report
) -> tuple[Site, ...] | None:
    if placement is None or shape is None:
        return None
    try:
        return placement.build_list(Site, shape)
    except MtloraError as error:
        report.take(("placement",), error)
        return None


def _check_pairing(
    found: Mapping[Keys, Installed],
    shape: BackboneShape | None,
    registry: Registry,
    report: _Report,
) -> Parts:
    parts = Parts(
        {keys: installed.component for keys, installed in found.items()},
        report.recipe.router is not None,
        shape.causal if shape else None,
        [installed.component for installed in registry.parts()],
        packed=shape.packed if shape else False,
        forwards=report.recipe.train.accumulate,
    )
    report.unfitting(parts.problems())
    report.notices += [f"{report.recipe.where(*keys)}: {text}" for keys, text in parts.notices()]
    return parts


def _check_count(bound: Mapping[Keys, Bound], report: _Report) -> None:
    experts, router = bound.get(("experts",)), bound.get(("router",))
    if experts is None or router is None or not isinstance(experts.options, MixedOptions):
        return
    options, count = router.options, experts.options.count
    if isinstance(options, RouterOptions):
        _told(
            ("router",), router, "count_problems()", lambda: options.count_problems(count), report
        )


def _check_options(
    bound: Mapping[Keys, Bound], shape: BackboneShape, sites: Sequence[Site], report: _Report
) -> None:
    for keys, part in bound.items():
        _told(keys, part, "problems()", partial(part.options.problems, shape, sites), report)


def _told(
    keys: Keys, part: Bound, what: str, ask: Callable[[], Iterable[object]], report: _Report
) -> None:
    """Keep the problems that a part's options tell of themselves."""
    try:
        problems = _pairs(part, what, ask)
    except PluginError as error:
        report.take(keys, error)
        return
    for option, reason in problems:
        steps = (int(step) if step.isdecimal() else step for step in option.split("."))
        report.add((*keys, *steps), reason, CompositionError)


def _pairs(part: Bound, what: str, ask: Callable[[], Iterable[object]]) -> list[tuple[str, str]]:
    pairs = []
    with part.origin.calling(what):
        found = [*part.origin.gave(what, ask(), Iterable, "an iterable of (option, reason)")]
    for each in found:
        match each:
            case (str(option), str(reason)):
                pairs.append((option, reason))
            case _:
                raise part.origin.broken(f"{what} gave {each!r}, and (option, reason) is expected")
    return pairs


def _written_out(recipe: Recipe, bound: Mapping[Keys, Bound]) -> Recipe:
    specs = dict(recipe.parts()) | {keys: _written(part) for keys, part in bound.items()}
    single = {str(keys[0]): spec for keys, spec in specs.items() if len(keys) == 1}
    listed = tuple(spec for keys, spec in specs.items() if len(keys) > 1)
    return recipe.model_copy(update={**single, "regularizers": listed})


def _written(part: Bound) -> PartSpec:
    # With its package: a part of the same name that is installed later then changes nothing.
    use = f"{part.package}/{part.component.name}"
    return PartSpec(use, part.options.model_dump(mode="json"))
