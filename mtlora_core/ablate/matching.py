"""Rows are given as much of something as the baseline has: steps, or adapter parameters.

The only part of planning that loads torch: parameters are counted on a model without weights, and
an epoch's steps on the tasks' sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ..errors import CompositionError, MtloraError
from ..options import MixedOptions
from ..recipe.node import Node, Position
from ..registry import Registry
from ..resolve import Plan
from .definition import Matched
from .planned import Match, Planned
from .settings import Setting, setting

_AT = Position("match")

FINEST = 64
"""The coarsest ranks that are tried to be multiples of: experts may have to share a rank."""
LARGEST = 1 << 16
"""The highest rank that is tried; far above any model's width."""


def matched(row: Planned, baseline: Planned, what: Matched, registry: Registry) -> Planned:
    """Return a row that has as many steps, or adapter parameters, as the baseline.

    Raises:
        MtloraError: nothing in it can be solved for, or the tasks cannot be read.
    """
    if row is baseline:
        return row
    if what == "steps":
        return _with_steps(row, steps_of(baseline.plan), registry)
    return _with_rank(row, baseline.plan, registry)


def steps_of(plan: Plan) -> int:
    """Return how many optimizer steps a plan takes."""
    options = plan.recipe.train
    if options.steps is not None:
        return options.steps
    from ..compose import load_tasks
    from ..train.session import total_steps

    return total_steps(options, [len(each.train) for each in load_tasks(plan)])


def _with_steps(row: Planned, steps: int, registry: Registry) -> Planned:
    before = row.plan.recipe.train.steps
    if before == steps:
        return row
    found = Match("steps", "train.steps", before, steps, steps, steps)
    return _solved(row, _set("train.steps", steps), found, registry)


def _with_rank(row: Planned, baseline: Plan, registry: Registry) -> Planned:
    experts = row.plan.experts
    option = _solvable(row.plan)
    key, before = f"experts.{option}", int(getattr(experts.options, option))
    if key in row.row.changes:
        raise CompositionError(f"sets {key}, which match: parameters solves for; leave out one")
    count = partial(_count, row, _names(row.plan), key, registry)
    target = _parameters(baseline, _names(baseline))
    after = nearest(count, before, target)
    reached = count(after)
    assert reached is not None, "nearest returns what it could count"
    found = Match("adapter parameters", key, before, after, reached, target)
    return _solved(row, _set(key, after), found, registry)


def _solvable(plan: Plan) -> str:
    """Return the option that decides how large the experts are: their rank, or their number."""
    options = plan.experts.options
    if "rank" in type(options).model_fields:
        return "rank"
    if isinstance(options, MixedOptions):
        return "count"
    name = plan.experts.component.name
    raise CompositionError(f"experts {name!r} have neither rank nor count to match parameters by")


def _count(
    row: Planned, tasks: Sequence[str], key: str, registry: Registry, value: int
) -> int | None:
    """Return the row's adapter parameters with another rank, None where it cannot have that."""
    try:
        return _parameters(row.row.plan(registry, [_set(key, value)]), tasks)
    except MtloraError:
        return None


def _parameters(plan: Plan, tasks: Sequence[str]) -> int:
    from ..compose import adapter_parameters

    return adapter_parameters(plan, tasks)


def _names(plan: Plan) -> list[str]:
    from ..compose import load_tasks

    return [each.task.name for each in load_tasks(plan)]


def nearest(count: Callable[[int], int | None], start: int, target: int) -> int:
    """Return the value whose count is nearest to ``target``; of two as near, the smaller.

    Counts grow with the value. Values that cannot be are None; those that can are taken to be
    evenly spaced around ``start``, which can.
    """
    unit = next((u for u in range(1, FINEST + 1) if count(start + u) is not None), start)
    offset = start % unit
    low, high = 0 if offset else 1, max(1, start // unit)

    def at(step: int) -> int | None:
        return count(offset + step * unit)

    while (at(high) or 0) < target and offset + high * unit < LARGEST and at(2 * high) is not None:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if (at(middle) or 0) < target else (low, middle)
    ends = [step for step in (low, high) if at(step) is not None]
    best = min(ends, key=lambda step: abs((at(step) or 0) - target))
    return offset + best * unit


def _solved(row: Planned, found: Setting, match: Match, registry: Registry) -> Planned:
    if match.before == match.after:
        return replace(row, match=match)
    solved = replace(row.row, own=(*row.row.own, found))
    return replace(row, row=solved, plan=solved.plan(registry), match=match)


def _set(key: str, value: int) -> Setting:
    return setting(key, Node(value, _AT))
