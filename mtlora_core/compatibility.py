"""Which parts cannot work together, from what they declare; each problem says what instead.

Only capabilities are compared, never names: the core knows no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .component import Component
from .recipe.node import Keys
from .sites import Site

Problem = tuple[Keys, str]
"""The keys in the recipe that a problem or notice is about, and what it says."""


def mixed(experts: Component) -> tuple[str, ...]:
    """Return the units these experts can be weighed for; none where they take no router."""
    return tuple(experts.capabilities.get("mixes", ()))


def looks_ahead(router: Component) -> bool:
    """Whether a token's weights may depend on other tokens, later ones among them."""
    sees_no_tokens = router.capabilities.get("per") in ("model", "task")
    return not router.capabilities.get("causal", sees_no_tokens)


def one_in_disguise(experts: Component, router: Component) -> bool:
    """Whether the experts' sum is always that of one: no unit has weights of its own, ever."""
    fixed = not router.capabilities.get("learned", True)
    return bool(mixed(experts)) and fixed and router.capabilities.get("per") == "model"


@dataclass(frozen=True)
class Parts:
    """The parts of a recipe, as far as they are known, and what could stand in for them."""

    found: Mapping[Keys, Component]
    """By where they stand, such as ``("regularizers", 0)``."""
    routed: bool
    """Whether the recipe names a router, found or not."""
    causal: bool | None
    """Whether the backbone is; None where that is not known."""
    installed: Sequence[Component] = ()
    """Every installed part, for advice."""
    packed: bool = False
    """Whether the backbone keeps its weights quantized."""
    forwards: int = 1
    """How many forwards a step has on one process."""

    @property
    def experts(self) -> Component | None:
        """The experts."""
        return self.found.get(("experts",))

    @property
    def router(self) -> Component | None:
        """The router."""
        return self.found.get(("router",))

    def problems(self) -> Iterator[Problem]:
        """Yield what keeps these parts from working together."""
        if self.experts is not None:
            yield from self._routing_problems(self.experts)
        if self.router is not None and self.causal and looks_ahead(self.router):
            yield (
                ("router",),
                f"{self.router.name!r} weighs a token by others, and a causal backbone must see no "
                f"later ones; {self._routers()}",
            )
        if self.packed and self.experts and self.experts.capabilities.get("needs_base", False):
            yield (
                ("experts",),
                f"{self.experts.name!r} reads a projection's weight, and the backbone's weights "
                "are quantized, which are no matrices; load it unquantized, or take other experts",
            )
        for keys, part in self.found.items():
            reason = self._penalty_problem(part)
            if reason:
                yield keys, reason
        yield from self._only_one(self._transforms(), "transforms gradients", "takes one gradient")
        yield from self._weighting_problems()

    def notices(self) -> Iterator[Problem]:
        """Yield what is allowed and hardly meant."""
        yield from self._transform_notices()
        experts, router = self.experts, self.router
        if experts is None or router is None or router.capabilities.get("learned", True):
            return
        if one_in_disguise(experts, router):
            how = (
                "they start equal, and nothing tells them apart"
                if experts.capabilities.get("start_equal", False)
                else "their factors are those of one, side by side"
            )
            yield (
                ("router",),
                f"{router.name!r} gives every expert of {experts.name!r} a fixed weight, so "
                f"together they are one expert in disguise ({how}), good for a baseline only",
            )
        for keys, part in self.found.items():
            if part.capabilities.get("penalizes") == "routing":
                yield keys, f"{part.name!r} penalizes routing, and {router.name!r} learns none"

    def _transforms(self) -> list[tuple[Keys, Component]]:
        return [(keys, part) for keys, part in self.found.items() if part.transforms_gradients]

    def _weighting_problems(self) -> Iterator[Problem]:
        weightings = [(keys, part) for keys, part in self.found.items() if part.weighs_losses]
        yield from self._only_one(weightings, "weighs losses", "takes one weight a task")
        for keys, part in weightings:
            if part.capabilities["weighs_losses"] == "current" and self.forwards > 1:
                yield (
                    keys,
                    f"{part.name!r} weighs the losses of a step by these losses, and with "
                    f"train.accumulate: {self.forwards} most are known too late; write "
                    "train.accumulate: 1, or take a weighting that reads earlier steps",
                )

    def _only_one(
        self, parts: Sequence[tuple[Keys, Component]], does: str, why: str
    ) -> Iterator[Problem]:
        for keys, part in parts[1:]:
            first, other = parts[0]
            yield (
                keys,
                f"{part.name!r} {does}, and so does {other.name!r} at "
                f"{'.'.join(map(str, first))}; a step {why}, so keep one of them",
            )

    def _transform_notices(self) -> Iterator[Problem]:
        for keys, part in self.found.items():
            penalizes = part.capabilities.get("penalizes")
            if penalizes in ("routing", "selection") and self._transforms():
                yield (
                    keys,
                    f"under {self._transforms()[0][1].name!r}, {part.name!r} moves routers only: "
                    "its gradient does not flow on into the sites before them",
                )

    def site_problems(self, sites: Sequence[Site]) -> Iterator[Problem]:
        """Yield what is wrong with the chosen sites, and who cannot work there."""
        if not sites:
            yield ("placement",), "chooses no site of this backbone; it needs at least one"
        names = [site.name for site in sites]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield ("placement",), f"chooses the site {name!r} twice"
            if "." in name:
                yield ("placement",), f"names a site {name!r}; a site's name has no dots"
        block = next((site.name for site in sites if site.kind == "block"), None)
        if self.experts and block and self.experts.capabilities.get("needs_base", False):
            yield (
                ("experts",),
                f"{self.experts.name!r} reads a projection's weight, and the site {block!r} is a "
                "block, which has none; place adapters on projections, or take other experts",
            )

    def _routing_problems(self, experts: Component) -> Iterator[Problem]:
        units = " or ".join(mixed(experts))
        if not units and self.routed:
            yield (
                ("router",),
                f"experts {experts.name!r} take no router; leave it out, or {self._mixing()}",
            )
        elif units and not self.routed:
            yield (
                ("experts",),
                f"{experts.name!r} need a router, and the recipe has none; {self._routers()}",
            )
        elif self.router and self.router.capabilities.get("per") not in mixed(experts):
            yield (
                ("router",),
                f"{self.router.name!r} weighs experts per {self.router.capabilities.get('per')}, "
                f"and {experts.name!r} mix them per {units}; {self._routers()}",
            )

    def _penalty_problem(self, part: Component) -> str | None:
        penalizes = part.capabilities.get("penalizes")
        if penalizes in ("routing", "selection") and not self.routed:
            return f"{part.name!r} penalizes routing, and the recipe has no router; leave it out"
        if penalizes == "selection" and self.router and not _sparse(self.router):
            return (
                f"{part.name!r} evens out which experts a router keeps, and {self.router.name!r} "
                f"keeps all; leave it out, or {self._routers(sparse=True)}"
            )
        if penalizes == "weights" and self.experts and not mixed(self.experts):
            return (
                f"{part.name!r} keeps experts apart, and {self.experts.name!r} have nothing to "
                f"mix, so no pairs; leave it out, or {self._mixing()}"
            )
        return None

    def _routers(self, *, sparse: bool = False) -> str:
        units = mixed(self.experts) if self.experts else ()
        return _write(
            "router",
            [
                each.name
                for each in self.installed
                if each.kind == "router"
                and each.capabilities.get("per") in units
                and not (self.causal and looks_ahead(each))
                and (_sparse(each) or not sparse)
            ],
        )

    def _mixing(self) -> str:
        mixing = [each.name for each in self.installed if each.kind == "experts" and mixed(each)]
        return _write("experts", mixing)


def _sparse(router: Component) -> bool:
    return bool(router.capabilities.get("sparse", False))


def _write(kind: str, names: Sequence[str]) -> str:
    if not names:
        return f"no installed {kind} would fit"
    first, *others = sorted(set(names))
    return f"write `{kind}: {first}`" + (f" (or {', '.join(others)})" if others else "")
