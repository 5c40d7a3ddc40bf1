"""A part that breaks its contract is told with its plugin, its kind and its name, where it does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from parts import plugin, recipe_with, registry_of
from pydantic import BeforeValidator, Field, SecretStr

from mtlora_core.component import Component, Kind
from mtlora_core.errors import CompositionError, MtloraError, PluginError
from mtlora_core.options import (
    BackboneOptions,
    Options,
    RecipePath,
    RouterOptions,
)
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.sites import BackboneShape, Site


def described(kind: Kind, options: type, build: Any = "parts:nothing", **more: Any) -> Component:
    """Return a description of a part called ``rough``, made of what is in this module."""
    text = build if isinstance(build, str) else f"{__name__}:{build.__name__}"
    own = f"{__name__}:{options.__name__}"
    return Component(kind, "rough", own, text, "rough", capabilities=more)


def resolved(component: Component, **options: Any) -> Plan:
    """Resolve the toys' recipe with a part of its own."""
    recipe = recipe_with(**{component.kind: {"use": "rough", **options}})
    return resolve(load_recipe(recipe), registry_of(theirs=plugin(component)))


def problems(component: Component, **options: Any) -> tuple[str, ...]:
    with pytest.raises(PluginError) as caught:
        resolved(component, **options)
    return caught.value.problems


def broken(kind: str) -> str:
    return f"the plugin 'theirs' is broken: {kind} 'rough': "


class Plain(Options):
    """Nothing to choose."""


class Aliased(Options):
    """An option that a recipe writes by another name."""

    rate: float = Field(0.1, alias="learning_rate")


class Percent(Options):
    """A validator that changes what it has made."""

    share: Annotated[float, BeforeValidator(lambda percent: percent / 100)] = 0.5


class Several(Options):
    """Sets, one of them deep inside."""

    kinds: frozenset[str] = frozenset({"a"})
    by_name: Mapping[str, frozenset[str]] = {"x": frozenset({"a"})}
    listed: tuple[str, ...] = ("a",)


class Secretive(Options):
    """Something that is written out as asterisks, two of which look alike."""

    token: SecretStr = SecretStr("hidden")


class Nested(Options):
    """Options of an option."""

    skip: Sequence[int] = ()


class Sound(Options):
    """Defaults that are not what a validator makes of them, and a number that is not itself."""

    skip: Sequence[int] = ()
    kept: tuple[int, ...] | list[int] = (1,)
    by_name: Mapping[str, Sequence[float]] = {"x": (1.0, math.nan)}
    inner: Nested = Nested()
    limits: Sequence[float] = (math.inf,)
    limit: float = math.nan


class Callback(Options):
    """Something that no recipe can write."""

    chosen: Any = print


@pytest.mark.parametrize(
    ("options", "written", "expected"),
    [
        (
            Aliased,
            {"learning_rate": 0.3},
            ["tasks.rate: ", "option 'rate' is written out as 0.3, which is refused"],
        ),
        (
            Percent,
            {"share": 50},
            ["tasks.share: ", "is 0.5, is written out as 0.5, and reads back as 0.005; "],
        ),
        (Secretive, {}, ["tasks.token: ", "is SecretStr('**********'), is written out as "]),
        (Callback, {}, ["tasks: ", "its options raised PydanticSerializationError: "]),
    ],
)
def test_options_that_would_not_be_the_same_once_written_out_are_refused(
    options: type[Options], written: dict[str, Any], expected: list[str]
) -> None:
    (problem,) = problems(described("tasks", options), **written)

    start, reason = expected
    assert problem.startswith(start + broken("tasks"))
    assert reason in problem


def test_options_that_mean_the_same_once_written_out_are_sound() -> None:
    written = resolved(described("tasks", Sound)).to_json()["tasks"]

    assert [written[name] for name in ("skip", "kept", "limits")] == [[], [1], [math.inf]]


def test_options_whose_order_would_change_with_the_process_are_refused() -> None:
    found = problems(described("tasks", Several))

    assert [problem.partition(":")[0] for problem in found] == ["tasks.kinds", "tasks.by_name"]
    assert all("is a set, whose order changes from process to process" in each for each in found)


def beside(value: Any) -> Any:
    """Return a name as a path where such a folder lies beside the recipe."""
    folder = getattr(value, "folder", Path.cwd())
    return str(folder / value) if (folder / value).is_dir() else str(value)


class Located(Options):
    """Options that depend on where the recipe lies, once."""

    model: Annotated[str, BeforeValidator(beside)]
    root: RecipePath = Path("texts")


def test_what_options_mean_where_they_were_written_is_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bert").mkdir()
    monkeypatch.chdir(tmp_path)  # has a folder of the model's name, which the recipe's has not
    recipe = tmp_path / "recipes" / "r.yaml"
    recipe.parent.mkdir()
    written = recipe_with(tasks={"use": "rough", "model": "bert", "root": "texts"})
    recipe.write_text(repr(written))  # a dictionary of strings and numbers is YAML

    plan = resolve(load_recipe(recipe), registry_of(theirs=plugin(described("tasks", Located))))

    assert plan.to_json()["tasks"] == {
        "use": "theirs/rough",
        "model": "bert",
        "root": str(tmp_path / "recipes" / "texts"),
    }


class Shapeless(BackboneOptions):
    """A backbone without its one method of options."""

    @classmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        """Describe nothing."""
        raise CompositionError("the family is unknown")


class Unspoken(Shapeless):
    """A backbone that describes nothing."""

    def shape(self) -> BackboneShape:
        """Forget to return it."""
        return None  # type: ignore[return-value]


class Crashing(Shapeless):
    """A backbone whose description fails."""

    def shape(self) -> BackboneShape:
        """Look for what is not there."""
        shapes: dict[str, BackboneShape] = {}
        return shapes["missing"]


class Silent(Options):
    """Options that forget to return their problems."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterable[tuple[str, str]]:
        """Return nothing at all."""
        return None  # type: ignore[return-value]


class Wordy(Options):
    """Options that tell a problem without its option."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield a plain text."""
        yield "it is wrong"  # type: ignore[misc]


class Miscounting(RouterOptions):
    """A router whose check of the experts fails."""

    def count_problems(self, experts: int) -> Iterable[tuple[str, str]]:
        """Divide by nothing."""
        return [("k", str(experts // 0))]


class Miscast(Options):
    """A validator that fails in another way than pydantic knows."""

    rank: Annotated[int, BeforeValidator(lambda rank: rank.lower())] = 2


def nowhere(options: Options, shape: BackboneShape) -> list[Any]:
    """Place adapters at names instead of sites."""
    return ["layer0"]


def lazily(options: Options, shape: BackboneShape) -> Iterator[Site]:
    """Place adapters one after the other."""
    yield Site("layer0", "block", 0, "layers.0", "layers.0", shape.width, shape.width)


PER_TOKEN = {"per": "token", "causal": True}


@pytest.mark.parametrize(
    ("component", "written", "reason"),
    [
        (described("backbone", Shapeless), {}, "lacks shape of BackboneOptions"),
        (described("backbone", Unspoken), {}, "shape() gave None, and BackboneShape is expected"),
        (described("backbone", Crashing), {}, "shape() raised KeyError: 'missing'"),
        (described("tasks", Silent), {}, "problems() gave None, and an iterable of (option, "),
        (described("tasks", Wordy), {}, "problems() gave 'it is wrong', and (option, reason) is"),
        (described("tasks", Miscast), {"rank": 3}, "its options raised AttributeError: "),
        (described("router", Miscounting, **PER_TOKEN), {}, "count_problems() raised ZeroDiv"),
        (described("placement", Plain, nowhere), {}, "its build gave 'layer0', and Site is"),
        (described("placement", Plain, lazily), {}, "its build gave <generator object lazily at"),
        (described("placement", Plain), {}, "cannot load 'parts:nothing'"),
    ],
    ids=lambda value: value.options.partition(":")[2] if isinstance(value, Component) else "",
)
def test_a_part_that_breaks_its_contract_before_it_is_built_is_named(
    component: Component, written: dict[str, Any], reason: str
) -> None:
    (problem,) = problems(component, **written)

    assert problem.startswith(f"{component.kind}: {broken(component.kind)}")
    assert reason in problem


def test_what_a_part_raises_is_told_with_the_line_of_its_own_code() -> None:
    component = described("backbone", Crashing, f"{__name__}:build")

    (problem,) = problems(component)

    assert f"{Path(__file__).name}:" in problem


def test_a_part_that_says_itself_what_is_wrong_is_not_broken() -> None:
    recipe = load_recipe(recipe_with(backbone={"use": "frozen", "model": "gone"}))

    with pytest.raises(MtloraError) as caught:
        resolve(recipe, registry_of())

    assert type(caught.value) is CompositionError
