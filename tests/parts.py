"""Light toy parts, without torch, for tests of what comes before a model is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import PositiveInt

from mtlora_core.catalogue import Catalogue
from mtlora_core.component import Component, Kind
from mtlora_core.errors import CompositionError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.options import (
    BackboneOptions,
    MixedOptions,
    Options,
    PenaltyOptions,
    RecipePath,
    RouterOptions,
    TransformOptions,
)
from mtlora_core.registry import Registry
from mtlora_core.sites import BackboneShape, Block, Layer, Projection, Site


class FrozenOptions(BackboneOptions):
    """A backbone of two layers."""

    model: str
    causal: bool = False
    width: PositiveInt = 8
    packed: bool = False

    def shape(self) -> BackboneShape:
        """Describe it; ``model: gone`` stands for a configuration that cannot be read."""
        if self.model == "gone":
            raise CompositionError("the configuration of 'gone' cannot be read")
        return replace(shape_with(self.width, self.causal), packed=self.packed)

    @classmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        """Describe a model that is nothing but a width."""
        return shape_with(int(module), causal=False)


def shape_with(width: int, causal: bool) -> BackboneShape:
    """Return a shape of two layers with one projection each."""
    layers = tuple(
        Layer(Block(f"{i}.q", f"{i}.o"), Block(f"{i}.f", f"{i}.f"), {"q": _projection(i, width)})
        for i in range(2)
    )
    return BackboneShape("toy", width, layers, causal)


def _projection(layer: int, width: int) -> Projection:
    return Projection(f"{layer}.q", width, width)


class SideOptions(Options):
    """A placement whose sites are whatever the recipe says."""

    sites: tuple[str, ...] = ("layer0", "layer1")
    kind: str = "projection"


def place(options: SideOptions, shape: BackboneShape) -> list[Site]:
    """Return the sites; one named ``nowhere`` stands for a role the backbone does not have."""
    if "nowhere" in options.sites:
        raise CompositionError("the backbone has no role 'nowhere'")
    kind: Any = options.kind
    return [
        Site(name, kind, layer, f"{layer}.f", f"{layer}.f", shape.width, shape.width)
        for layer, name in enumerate(options.sites)
    ]


class ManyOptions(MixedOptions):
    """Experts that are mixed."""

    count: PositiveInt = 4
    """How many."""
    rank: PositiveInt = 2
    limit: PositiveInt | None = 7

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield a rank over the width."""
        if self.rank > shape.width:
            yield "rank", f"{self.rank} is over the width {shape.width}"


class OneOptions(Options):
    """A single expert."""

    rank: PositiveInt = 2


class NoOptions(Options):
    """Nothing to choose."""


class GroupOptions(Options):
    """A router over groups."""

    groups: PositiveInt = 2

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield groups that do not divide the width."""
        if shape.width % self.groups:
            yield "groups", f"{self.groups} does not divide {shape.width}"


class FewOptions(RouterOptions):
    """A router that keeps some experts."""

    k: PositiveInt = 1

    def count_problems(self, experts: int) -> Iterator[tuple[str, str]]:
        """Yield a k over the number of experts."""
        if self.k > experts:
            yield "k", f"{self.k} of {experts} experts"


class WeightOptions(PenaltyOptions):
    """A penalty."""


class SurgeryOptions(TransformOptions):
    """A gradient transform."""


class DataOptions(Options):
    """Tasks in a folder."""

    root: RecipePath | None = None
    columns: Mapping[str, str] = {}


def part(kind: Kind, name: str, options: type[Options], **more: Any) -> Component:
    """Return a description of a part whose options are in this module."""
    build = "parts:place" if kind == "placement" else "parts:nothing"
    return Component(kind, name, f"parts:{options.__name__}", build, f"a toy {kind}", **more)


def plugin(*components: Component) -> object:
    """Return a plugin that offers ``components``."""

    class Plugin:
        @hookimpl
        def mtlora_components(self) -> list[Component]:
            return list(components)

    return Plugin()


def router(name: str, per: str, options: type[Options] = NoOptions, **more: Any) -> Component:
    """Return a causal, learned router, unless ``more`` says otherwise."""
    capabilities = {"per": per, "causal": True, "learned": True, **more}
    return part("router", name, options, capabilities=capabilities)


def experts(name: str, options: type[Options], *mixes: str, **more: Any) -> Component:
    """Return experts that are mixed per ``mixes``."""
    return part("experts", name, options, capabilities={"mixes": mixes, **more})


def penalty(name: str, penalizes: str) -> Component:
    """Return a penalty on ``weights`` or ``routing``."""
    return part("regularizer", name, WeightOptions, capabilities={"penalizes": penalizes})


def transform(name: str) -> Component:
    """Return a gradient transform."""
    capabilities = {"transforms_gradients": True}
    return part("regularizer", name, SurgeryOptions, capabilities=capabilities)


def weighting(name: str, reads: str) -> Component:
    """Return a loss weighting that reads the losses of ``earlier`` steps or the ``current`` one."""
    return part("regularizer", name, NoOptions, capabilities={"weighs_losses": reads})


STANDARD = (
    part("backbone", "frozen", FrozenOptions),
    part("placement", "side", SideOptions, capabilities={"sites": ("projection", "block")}),
    part("tasks", "data", DataOptions),
    experts("many", ManyOptions, "model", "token", "group"),
    experts("one", OneOptions),
    experts("based", OneOptions, needs_base=True),
    router("each", "token"),
    router("grouped", "group", GroupOptions),
    router("fixed", "model", learned=False),
    router("whole", "sequence"),
    router("pooled", "token", causal=False),
    penalty("apart", "weights"),
    penalty("even", "routing"),
    transform("surgery"),
    weighting("slow", "earlier"),
    weighting("swift", "current"),
)


def registry_of(**plugins: object) -> Registry:
    """Return a registry of the standard toys and of ``plugins``, with an empty catalogue."""
    return Registry({"toys": plugin(*STANDARD), **plugins}, catalogue=Catalogue())


def recipe_with(**changes: Any) -> dict[str, Any]:
    """Return a recipe of the standard toys, with ``changes``; None takes a key away."""
    whole: dict[str, Any] = {
        "name": "toy",
        "backbone": {"use": "frozen", "model": "small"},
        "placement": "side",
        "experts": {"use": "many", "count": 3},
        "router": {"use": "grouped", "groups": 4},
        "regularizers": [{"use": "apart", "weight": 0.5}, "even"],
        "tasks": "data",
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}
