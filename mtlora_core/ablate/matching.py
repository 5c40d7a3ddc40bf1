"""Rows are given as much of something as the baseline has: steps, or adapter parameters.

The only part of planning that loads torch: parameters are counted on a model without weights, and
an epoch's steps on the tasks' sizes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial

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
UNCOUNTED = ("name", "train", "evaluate")
"""Keys of a recipe that change no number of parameters."""
NAMES: Mapping[Matched, str] = {"steps": "steps", "parameters": "adapter parameters"}
"""What people call what rows are given as much of."""
LARGEST = 1 << 16
"""The highest rank that is tried; far above any model's width."""


class Matcher:
    """Gives rows as many steps, or adapter parameters, as the baseline has.

    Args:
        baseline: The row that others are compared with.
        what: What they are given as much of.
        registry: The parts.
    """

    def __init__(self, baseline: Planned, what: Matched, registry: Registry) -> None:
        self._baseline = baseline
        self._what = what
        self._registry = registry
        self._tasks: dict[str, Mapping[str, int]] = {}
        self._counts: dict[str, int] = {}

    def matched(self, row: Planned) -> Planned:
        """Return the row with what was solved for.

        Raises:
            MtloraError: nothing in it can be solved for, or the tasks cannot be read.
        """
        if row is self._baseline:
            return row
        return self._with_steps(row) if self._what == "steps" else self._with_rank(row)

    def kept(self, row: Planned) -> Planned:
        """Return the row itself, of which every candidate has as much as it has untuned.

        Raises:
            CompositionError: what is tuned changes how much it has, so that nothing is matched.
        """
        own = self._amount(row.plan)
        for candidate in row.candidates:
            found = self._amount(candidate.plan)
            if found != own:
                values = ", ".join(f"{key}={value}" for key, value in candidate.values.items())
                raise CompositionError(
                    f"tune: {values} makes {found:,} {NAMES[self._what]} of {own:,}, which match: "
                    f"{self._what} holds still; make it a row, by swap, which is then matched"
                )
        return row

    def _amount(self, plan: Plan) -> int:
        return self._steps(plan) if self._what == "steps" else self._parameters(plan)

    def _with_steps(self, row: Planned) -> Planned:
        steps = self._steps(self._baseline.plan)
        if self._steps(row.plan) == steps:
            return row
        before = row.plan.recipe.train.steps
        found = Match(NAMES["steps"], "train.steps", before, steps, steps, steps)
        return self._solved(row, found)

    def _with_rank(self, row: Planned) -> Planned:
        experts = row.plan.experts
        option = _solvable(row.plan)
        key, before = f"experts.{option}", int(getattr(experts.options, option))
        if key in row.row.changes:
            raise CompositionError(f"sets {key}, which match: parameters solves for; leave out one")
        target = self._parameters(self._baseline.plan)
        after = nearest(partial(self._count, row, key), before, target)
        reached = self._count(row, key, after)
        assert reached is not None, "nearest returns what it could count"
        return self._solved(row, Match(NAMES["parameters"], key, before, after, reached, target))

    def _solved(self, row: Planned, match: Match) -> Planned:
        if match.before == match.after:
            return replace(row, match=match)
        own = (*row.row.own, _set(match.key, match.after))
        solved = replace(row.row, own=own)
        return replace(row, row=solved, plan=solved.plan(self._registry), match=match)

    def _count(self, row: Planned, key: str, value: int) -> int | None:
        """Return the row's adapter parameters with another rank, None where it cannot have it."""
        try:
            return self._parameters(row.row.plan(self._registry, [_set(key, value)]))
        except MtloraError:
            return None

    def _parameters(self, plan: Plan) -> int:
        """Return a plan's adapter parameters; plans that differ in training only share a count."""
        from ..compose import adapter_parameters

        counted = {key: value for key, value in plan.to_json().items() if key not in UNCOUNTED}
        key = json.dumps(counted, sort_keys=True)
        if key not in self._counts:
            self._counts[key] = adapter_parameters(plan, [*self._sizes(plan)])
        return self._counts[key]

    def _steps(self, plan: Plan) -> int:
        from ..train.session import total_steps

        return total_steps(plan.recipe.train, [*self._sizes(plan).values()])

    def _sizes(self, plan: Plan) -> Mapping[str, int]:
        """Return the training examples of each task; rows of the same tasks read them once."""
        from ..compose import load_tasks

        recipe = plan.recipe
        key = f"{recipe.tasks.to_json()} {recipe.subset} {recipe.seed}"
        if key not in self._tasks:
            self._tasks[key] = {each.task.name: len(each.train) for each in load_tasks(plan)}
        return self._tasks[key]


def _solvable(plan: Plan) -> str:
    """Return the option that decides how large the experts are: their rank, or their number."""
    options = plan.experts.options
    if "rank" in type(options).model_fields:
        return "rank"
    if isinstance(options, MixedOptions):
        return "count"
    name = plan.experts.component.name
    raise CompositionError(f"experts {name!r} have neither rank nor count to match parameters by")


def nearest(count: Callable[[int], int | None], start: int, target: int) -> int:
    """Return the value whose count is nearest to ``target``; of two as near, the smaller.

    Counts grow with the value. Values that cannot be are None; those that can are taken to be
    evenly spaced around ``start``, which can, up to a largest one.
    """
    unit = _spacing(count, start)
    offset = start % unit

    @cache
    def at(step: int) -> int | None:
        return count(offset + step * unit)

    low, high = _around(at, 0 if offset else 1, max(1, start // unit), target, LARGEST // unit)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if (at(middle) or 0) < target else (low, middle)
    ends = [step for step in (low, high) if at(step) is not None]
    best = min(ends, key=lambda step: abs((at(step) or 0) - target))
    return offset + best * unit


def _spacing(count: Callable[[int], int | None], start: int) -> int:
    """Return how far ``start`` is from the next value that can be, above or below it."""
    for unit in range(1, FINEST + 1):
        if any(count(v) is not None for v in (start + unit, start - unit) if v > 0):
            return unit
    return start


def _around(
    at: Callable[[int], int | None], low: int, high: int, target: int, last: int
) -> tuple[int, int]:
    """Return steps around ``target``, or where none reaches it the two that come nearest."""
    while (at(high) or 0) < target and high < last:
        if at(2 * high) is None:
            return high, _largest(at, high, 2 * high)
        low, high = high, 2 * high
    return low, high


def _largest(at: Callable[[int], int | None], can: int, cannot: int) -> int:
    """Return the largest step that can be, between one that can and one that cannot."""
    while cannot - can > 1:
        middle = (can + cannot) // 2
        can, cannot = (can, middle) if at(middle) is None else (middle, cannot)
    return can


def _set(key: str, value: int) -> Setting:
    return setting(key, Node(value, _AT))
