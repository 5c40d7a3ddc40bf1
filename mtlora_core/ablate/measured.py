"""Why finished rows are not comparable: what only the runs themselves could tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import eq
from typing import TYPE_CHECKING, Any

from ..errors import MtloraError
from .planned import are_close

if TYPE_CHECKING:
    from .definition import Matched
    from .folder import AblationFolder
    from .planned import Planned
    from .results import Outcome, Result


def warnings_of(
    outcomes: Sequence[Outcome], baseline: Outcome, home: AblationFolder, matched: Matched | None
) -> Iterator[str]:
    """Yield in what the runs of rows differ, that their comparison takes to be the same.

    A row's run is held against the baseline's of the same seed, which decides what is drawn.
    """
    pairs = [pair for each in outcomes if (pair := _pair(each, baseline)) is not None]
    yield from _unequal("steps", pairs, lambda result: result.history.steps)
    if matched == "parameters":
        near = [pair for pair in pairs if pair.is_near]
        yield from _unequal("adapter parameters", near, _parameters, are_close)
    locks = {id(each): _lock(each, home) for pair in pairs for each in (pair.own, pair.base)}
    yield from _unequal("device", pairs, lambda result: _device(locks[id(result)]))
    yield from _unequal("torch", pairs, lambda result: locks[id(result)].get("torch"))
    yield from _other_data(pairs, lambda result: locks[id(result)].get("data", {}))
    for each in outcomes:
        if each.results and len(each.results) < len(each.cells):
            yield f"{each.row.name!r} has {len(each.results)} of {len(each.cells)} seeds"


@dataclass(frozen=True)
class _Pair:
    """A run of a row, and the baseline's of the same seed."""

    row: Planned
    own: Result
    base: Result

    @property
    def is_near(self) -> bool:
        """Whether the row was to be near the baseline; of others the study has warned before."""
        return self.row.match is None or self.row.match.is_close


def _pair(outcome: Outcome, baseline: Outcome) -> _Pair | None:
    """Return runs of the first seed that both have finished; None without one."""
    bases = {each.cell.seed: each for each in baseline.results}
    for own in outcome.results:
        if own.cell.seed in bases:
            return _Pair(outcome.row, own, bases[own.cell.seed])
    return None


def _unequal(
    aspect: str,
    pairs: Sequence[_Pair],
    of: Callable[[Result], Any],
    alike: Callable[[Any, Any], bool] = eq,
) -> Iterator[str]:
    values = [(pair.row.name, of(pair.own), of(pair.base)) for pair in pairs]
    known = [each for each in values if None not in each]
    others = [each for each in known if not alike(*each[1:])]
    if others:
        rows = ", ".join(repr(name) for name, *_ in others)
        _, found, expected = others[0]
        yield f"not comparable in {aspect}: {rows} with {found}, the baseline with {expected}"


def _other_data(
    pairs: Sequence[_Pair], data: Callable[[Result], Mapping[str, str]]
) -> Iterator[str]:
    for pair in pairs:
        own, expected = data(pair.own), data(pair.base)
        changed = [task for task in own if task in expected and own[task] != expected[task]]
        if changed:
            name, tasks = pair.row.name, ", ".join(changed)
            yield f"not comparable in data: {name!r} saw other examples of {tasks}"


def _parameters(result: Result) -> int | None:
    found: int | None = result.history.started.get("parameters", {}).get("adapters")
    return found


def _lock(result: Result, home: AblationFolder) -> dict[str, Any]:
    try:
        return home.run(result.cell).read_lock()
    except MtloraError:
        return {}


def _device(lock: dict[str, Any]) -> str | None:
    device = lock.get("device")
    return None if device is None else f"{device['type']} {device['name']}"
