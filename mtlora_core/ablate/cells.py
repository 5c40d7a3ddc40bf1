"""A cell: one row with one seed, which is one run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property

from ..recipe import dump_recipe
from ..resolve import Plan

DIGITS = 10
"""Of the hash in a cell's name; with a thousand cells two share one once in two million tries."""


@dataclass(frozen=True)
class Cell:
    """One run of an ablation."""

    row: str
    plan: Plan
    tuning: bool = False
    """Whether it serves to choose, and is no part of the table."""

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.plan.recipe.seed

    @cached_property
    def name(self) -> str:
        """Its parts, for people, and a hash of its resolved recipe.

        Nothing else goes into it: two cells of one recipe are one cell, whatever their rows are
        called, and a cell is found again after its row was renamed. The recipe's own name is left
        out for the same reason.
        """
        recipe = {k: value for k, value in self.plan.to_json().items() if k != "name"}
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        bounds = (self.plan.placement, self.plan.experts, self.plan.router)
        parts = [bound.component.name for bound in bounds if bound is not None]
        return "-".join([*parts, f"s{self.seed}", digest[:DIGITS]])

    def text(self) -> str:
        """Return its resolved recipe, as a file."""
        return dump_recipe(self.plan.to_json())


def with_seed(plan: Plan, seed: int) -> Plan:
    """Return the plan of the same recipe with another seed."""
    return replace(plan, recipe=plan.recipe.model_copy(update={"seed": seed}))
