"""Leave one out: what stands in for each part of a recipe, one at a time.

A regularizer is left out. A router is too where the experts take none; otherwise one that weighs
every expert the same and learns nothing stands in, found by what installed routers declare.
Backbone, tasks, placement and experts are what the others stand on: nothing is a method without
them, so what stands in for these is written out, ``leave_one_out: {placement: component}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..compatibility import mixed
from ..options import RecipeText
from ..recipe.node import Node, Position
from ..registry import Registry
from ..resolve import Plan
from .settings import Setting, setting

_AT = Position("leave_one_out")


def left_out(plan: Plan, given: Sequence[Setting], registry: Registry) -> Iterator[Setting]:
    """Yield a setting for each part of ``plan`` that takes it away or makes it plain.

    Args:
        plan: The whole recipe.
        given: What is written out to stand in, by key.
        registry: Where a router that learns nothing is looked for.
    """
    for name in dict.fromkeys(bound.component.name for bound in plan.regularizers):
        yield replace(_set("regularizers", f"-{name}"), title=f"− {name}")
    if plan.router is not None and all(each.key != "router" for each in given):
        yield _without_router(plan, registry)
    for each in given:
        yield replace(each, title=f"− {each.key} ({each.shown})")


def _without_router(plan: Plan, registry: Registry) -> Setting:
    units = mixed(plan.experts.component)
    for part in registry.parts("router") if units else ():
        declared = part.component.capabilities
        if declared.get("per") in units and not declared.get("learned", True):
            name = part.component.name
            return replace(_set("router", f"{part.package}/{name}"), title=f"− router ({name})")
    return replace(_set("router", None), title="− router")


def _set(key: str, value: str | None) -> Setting:
    return setting(key, Node(value if value is None else RecipeText(value, Path.cwd()), _AT))
