"""Why finished rows are not comparable: what only the runs themselves could tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import MtloraError

if TYPE_CHECKING:
    from .folder import AblationFolder
    from .results import Outcome


def warnings_of(
    outcomes: Sequence[Outcome], baseline: Outcome, home: AblationFolder
) -> Iterator[str]:
    """Yield in what the runs of rows differ, that their comparison takes to be the same."""
    yield from _unequal("steps", {each.row.name: _steps(each) for each in outcomes}, baseline)
    locks = {each.row.name: _lock(each, home) for each in outcomes}
    yield from _unequal("device", {n: _device(lock) for n, lock in locks.items()}, baseline)
    yield from _unequal("torch", {n: lock.get("torch") for n, lock in locks.items()}, baseline)
    yield from _other_data({name: lock.get("data", {}) for name, lock in locks.items()}, baseline)
    for each in outcomes:
        if each.results and len(each.results) < len(each.cells):
            yield f"{each.row.name!r} has {len(each.results)} of {len(each.cells)} seeds"


def _unequal(aspect: str, values: dict[str, Any], baseline: Outcome) -> Iterator[str]:
    expected = values[baseline.row.name]
    known = {name: value for name, value in values.items() if value is not None}
    others = [name for name, value in known.items() if value != expected]
    if others and expected is not None:
        rows = ", ".join(map(repr, others))
        found = known[others[0]]
        yield f"not comparable in {aspect}: {rows} with {found}, the baseline with {expected}"


def _other_data(data: dict[str, dict[str, str]], baseline: Outcome) -> Iterator[str]:
    expected = data[baseline.row.name]
    for name, own in data.items():
        changed = [task for task in own if task in expected and own[task] != expected[task]]
        if changed:
            yield f"not comparable in data: {name!r} saw other examples of {', '.join(changed)}"


def _steps(outcome: Outcome) -> int | None:
    return outcome.results[0].history.steps if outcome.results else None


def _lock(outcome: Outcome, home: AblationFolder) -> dict[str, Any]:
    try:
        return home.run(outcome.results[0].cell).read_lock() if outcome.results else {}
    except MtloraError:
        return {}


def _device(lock: dict[str, Any]) -> str | None:
    device = lock.get("device")
    return None if device is None else f"{device['type']} {device['name']}"
