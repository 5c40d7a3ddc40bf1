"""What ``resolve`` makes of a recipe: every name a part, every option checked, every site known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .component import Component
from .options import Options, TransformOptions
from .origin import Origin
from .recipe import Recipe
from .sites import BackboneShape, Site


@dataclass(frozen=True)
class Bound:
    """A part together with its validated options."""

    component: Component
    options: Options
    package: str
    version: str

    @property
    def origin(self) -> Origin:
        """What says what is wrong with the part."""
        return Origin.of(self.component, self.package)

    def build(self, contract: type, *given: Any, **how: Any) -> Any:
        """Build the part with its options; see :meth:`Origin.build`."""
        return self.origin.build(self.component.build, contract, self.options, *given, **how)

    def build_list(self, contract: type, *given: Any, **how: Any) -> tuple[Any, ...]:
        """Build what is a sequence of ``contract``, as sites and tasks are."""
        listed = self.build(Sequence, *given, **how)
        return tuple(self.origin.gave("its build", each, contract) for each in listed)


@dataclass(frozen=True)
class Plan:
    """A recipe that can be composed."""

    recipe: Recipe
    """The recipe with every part's package and every default written out."""
    backbone: Bound
    placement: Bound
    experts: Bound
    router: Bound | None
    regularizers: tuple[Bound, ...]
    tasks: Bound
    shape: BackboneShape
    sites: tuple[Site, ...]
    notices: tuple[str, ...] = field(default=(), compare=False)
    """What the user should know: options that were dropped, parts that do little together."""
    observers: tuple[object, ...] = field(default=(), compare=False, repr=False)
    """The plugins that the recipe names under ``observe``."""

    @property
    def penalties(self) -> tuple[Bound, ...]:
        """The regularizers that are added to the loss."""
        return tuple(b for b in self.regularizers if "penalizes" in b.component.capabilities)

    @property
    def transform(self) -> Bound | None:
        """The regularizer that makes one gradient of the tasks' gradients."""
        return next((b for b in self.regularizers if b.component.transforms_gradients), None)

    @property
    def weighting(self) -> Bound | None:
        """The regularizer that weighs the tasks' losses."""
        return next((b for b in self.regularizers if b.component.weighs_losses), None)

    def rows_kept(self) -> tuple[str, ...]:
        """Return why a step keeps the gradients of all tasks; nothing where it need not.

        Then they take a number for each present task and shared parameter; a recipe that only
        measures has them in the steps that do. A run on several processes keeps them whatever
        its plan.
        """
        options = self.transform.options if self.transform else None
        if options is None and self.recipe.measure.conflicts is None:
            return ()
        accumulate = self.recipe.train.accumulate
        return tuple(
            reason
            for reason, holds in (
                (
                    "scope: global",
                    isinstance(options, TransformOptions) and options.scope == "global",
                ),
                (f"train.accumulate: {accumulate}", accumulate > 1),
            )
            if holds
        )

    def parts(self) -> Iterator[tuple[str, Bound]]:
        """Yield each part with its place, such as ``("regularizers.0", bound)``."""
        for kind in ("backbone", "placement", "experts", "router"):
            bound = getattr(self, kind)
            if bound is not None:
                yield kind, bound
        for index, bound in enumerate(self.regularizers):
            yield f"regularizers.{index}", bound
        yield "tasks", self.tasks

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain data, with every default and every path absolute.

        :func:`~mtlora_core.recipe.load_recipe` takes it back, and it resolves to the same plan.
        """
        return self.recipe.to_json()

    def describe(self) -> dict[str, Any]:
        """Return parts and sites as plain data, as ``check`` and ``--dry-run`` show them."""
        parts = [
            {
                "path": path,
                "kind": bound.component.kind,
                "name": bound.component.name,
                "package": bound.package,
                "version": bound.version,
                "options": bound.options.model_dump(mode="json"),
            }
            for path, bound in self.parts()
        ]
        names = ("name", "kind", "reads", "adds", "d", "o")
        sites = [{name: getattr(site, name) for name in names} for site in self.sites]
        return {"parts": parts, "sites": sites, "rows_kept": [*self.rows_kept()]}
