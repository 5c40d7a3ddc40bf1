"""Why the rows of a table are not comparable; what nobody changed on purpose misleads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ..resolve import Plan
from .settings import shown

Aspect = Callable[[Plan], Any]


def _length(plan: Plan) -> str:
    train = plan.recipe.train
    return f"{train.steps} steps" if train.steps is not None else f"{train.epochs:g} epochs"


def _part(kind: str) -> Aspect:
    def aspect(plan: Plan) -> str:
        bound = getattr(plan, kind)
        return shown({"use": bound.component.name, **bound.options.model_dump(mode="json")})

    return aspect


_ASPECTS: Mapping[str, Aspect] = {
    "training": _length,
    "batch_size": lambda plan: plan.recipe.train.batch_size,
    "backbone": _part("backbone"),
    "tasks": _part("tasks"),
    "subset": lambda plan: "all tasks" if plan.recipe.subset is None else str(plan.recipe.subset),
    "evaluate": lambda plan: plan.recipe.evaluate.model_dump_json(),
}
"""What a comparison of methods holds still."""


def warnings_of(
    plans: Mapping[str, Plan], baseline: str, meant: Collection[str] = ()
) -> Iterator[str]:
    """Yield how rows differ from the baseline in what a comparison of methods holds still.

    Args:
        plans: By the names of the rows.
        baseline: The name of one of them.
        meant: What differs on purpose, or does not however the recipes say it.
    """
    for aspect, of in _ASPECTS.items():
        if aspect in meant:
            continue
        expected = of(plans[baseline])
        others = [name for name, plan in plans.items() if of(plan) != expected]
        if others:
            rows = ", ".join(map(repr, others))
            found = _short(of(plans[others[0]]))
            yield (
                f"not comparable in {aspect}: {rows} with {found}, the baseline with "
                f"{_short(expected)}"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
