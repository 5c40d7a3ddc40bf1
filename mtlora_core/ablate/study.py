"""An ablation that can be run: its rows resolved, those that cannot work told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import TypeVar

from ..errors import MtloraError, RecipeError
from ..recipe import PartSpec
from ..recipe.node import Node, Position
from ..registry import Registry
from ..resolve import Plan
from .cells import Cell, with_seed
from .comparable import warnings_of
from .definition import AblationOptions, checked, read_definition
from .flags import Flags
from .matching import Matcher
from .planned import Candidate, Match, Planned, Skipped
from .rows import Row, rows_of
from .settings import Setting, setting

R = TypeVar("R", Row, Planned)


@dataclass(frozen=True)
class Study:
    """What is to be run, and compared."""

    name: str
    rows: tuple[Planned, ...]
    seeds: tuple[int, ...]
    baseline: str
    options: AblationOptions
    skipped: tuple[Skipped, ...] = ()
    """Rows that cannot work, and why."""

    @property
    def executor(self) -> PartSpec | None:
        """Where cells run; None: in processes of this machine."""
        return self.options.executor

    @property
    def warnings(self) -> list[str]:
        """Why rows are not comparable, as far as their recipes say."""
        plans = {row.name: row.plan for row in self.rows}
        meant = ["training"] * (self.options.match == "steps") + ["subset"] * bool(
            self.options.tasks
        )
        unlike = warnings_of(plans, self.baseline, meant)
        matches = [(row.name, row.match) for row in self.rows if row.match is not None]
        return [*unlike, *(_unmatched(*each) for each in matches if not each[1].is_close)]

    @property
    def notices(self) -> list[str]:
        """What resolving the rows noticed, such as options that a swap dropped."""
        rows: dict[str, list[str]] = {}
        for row in self.rows:
            for notice in row.plan.notices:
                rows.setdefault(notice, []).append(row.name)
        return [f"{notice} ({_counted(names)})" for notice, names in rows.items()]

    def trials(self, row: Planned, candidate: Candidate) -> list[Cell]:
        """Return a candidate's tuning runs."""
        seeds = self.options.tune.seeds if self.options.tune else ()
        return [Cell(row.name, with_seed(candidate.trial, seed), tuning=True) for seed in seeds]

    def cells(self, row: Planned, plan: Plan) -> list[Cell]:
        """Return the runs of a row that are reported."""
        return [Cell(row.name, with_seed(plan, seed)) for seed in self.seeds]


def read_study(
    path: Path, flags: Flags, registry: Registry, *, skip_invalid: bool = False
) -> Study:
    """Read an ablation, or a recipe with flags, and resolve all its rows.

    Args:
        path: The file of an ablation or of a recipe, or a bundled recipe's name.
        flags: What the command line adds.
        registry: The parts.
        skip_invalid: Leave out rows that cannot work, rather than refuse.

    Raises:
        MtloraError: the ablation cannot be run as written, with every problem of this stage.
    """
    definition, called = read_definition(path)
    root = flags.written_into(definition)
    options = checked(root)
    sieve = _Sieve(skip_invalid)
    rows = rows_of(options, root, registry)
    planned = sieve.kept(rows, lambda row: _planned(row, registry))
    baseline = _baseline(options, planned, root)
    sieve.needed = baseline.name
    matcher = Matcher(baseline, options.match, registry) if options.match else None
    if matcher is not None:
        planned = sieve.kept(planned, matcher.matched)
    tuning = _tuned(root)
    planned = sieve.kept(planned, lambda row: _with_candidates(row, tuning, options, registry))
    if matcher is not None:
        planned = sieve.kept(planned, matcher.kept)
    name = options.name or called or _name(rows[0], root)
    seeds = _seeds(options, baseline.plan)
    return Study(name, tuple(planned), seeds, baseline.name, options, tuple(sieve.skipped))


class _Sieve:
    """Keeps rows that work; those that do not are told all at once, or left out."""

    def __init__(self, skip: bool) -> None:
        self.skipped: list[Skipped] = []
        self.needed: str | None = None
        """The row that cannot be left out, once that is known."""
        self._skip = skip

    def kept(self, rows: Sequence[R], made: Callable[[R], Planned]) -> list[Planned]:
        """Return what is made of the rows that work."""
        found: list[Planned] = []
        fresh: list[Skipped] = []
        for row in rows:
            try:
                found.append(made(row))
            except MtloraError as error:
                fresh.append((row.name, error.problems))
        self.skipped += fresh
        if fresh and not (self._skip and found and self.needed not in dict(fresh)):
            raise RecipeError(_told(fresh))
        return found


def _planned(row: Row, registry: Registry) -> Planned:
    plan = row.plan(registry)
    if not plan.recipe.evaluate.test:
        raise RecipeError(
            f"{plan.recipe.where('evaluate', 'test')}: is false, and the table is of test scores; "
            "leave it out: tuning runs look at none by themselves"
        )
    return Planned(row, plan)


def _unmatched(name: str, match: Match) -> str:
    return (
        f"not comparable in {match.what}: {name!r} comes no nearer to the baseline's "
        f"{match.target:,} than {match.reached:,}"
    )


def _counted(names: Sequence[str]) -> str:
    return f"row {names[0]!r}" if len(names) == 1 else f"{len(names)} rows"


def _told(rows: Sequence[Skipped]) -> list[str]:
    lines = [f"row {name!r}: {line}" for name, reasons in rows for line in reasons]
    return [*lines, "leave out rows that cannot work by --skip-invalid"]


def _baseline(options: AblationOptions, planned: Sequence[Planned], root: Node) -> Planned:
    if options.baseline is None:
        return planned[0]
    by_name = {row.name: row for row in planned}
    if options.baseline not in by_name:
        close = get_close_matches(options.baseline, by_name, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"rows: {', '.join(by_name)}"
        at = (root.entries or {})["baseline"].at
        raise RecipeError(f"{at}: baseline: no row {options.baseline!r} can be run; {advice}")
    return by_name[options.baseline]


def _seeds(options: AblationOptions, baseline: Plan) -> tuple[int, ...]:
    """Return the seeds of every row; a number of them counts from 0."""
    seeds = options.seeds
    if seeds is None:
        seeds = (baseline.recipe.seed,)
    elif isinstance(seeds, int):
        seeds = tuple(range(seeds))
    seeds = tuple(dict.fromkeys(seeds))
    both = set(seeds) & set(options.tune.seeds if options.tune else ())
    if both:
        raise RecipeError(
            f"tune.seeds: {sorted(both)} are reported too; a choice made on the runs that it is "
            "reported on flatters it"
        )
    return seeds


def _name(row: Row, root: Node) -> str:
    """Return what an ablation of a recipe is called: the recipe, and the keys that vary."""
    entries = root.entries or {}
    keys = [*((entries["swap"].entries or {}) if "swap" in entries else ())]
    keys += ["tasks"] * ("tasks" in entries)
    return "-".join([row.recipe().name, *(["+".join(keys)] if keys else [])])


def _tuned(root: Node) -> list[tuple[Setting, ...]]:
    """Return every combination of what is tuned."""
    tune = (root.entries or {}).get("tune")
    entries = (tune.entries if tune else None) or {}
    own = {key: node for key, node in entries.items() if key not in ("seeds", "steps")}
    values = [[setting(key, value) for value in node.value] for key, node in own.items()]
    return list(product(*values)) if values else []


def _with_candidates(
    row: Planned,
    choices: Sequence[tuple[Setting, ...]],
    options: AblationOptions,
    registry: Registry,
) -> Planned:
    steps = options.tune.steps if options.tune else None
    own = {"evaluate.test": False} | ({} if steps is None else {"train.steps": steps})
    apart = [setting(key, Node(value, Position("tune"))) for key, value in own.items()]
    found = []
    for choice in choices:
        solved = row.match and row.match.key
        if solved in {each.key for each in choice}:
            raise RecipeError(f"tune: {solved} is what match: {options.match} solves for")
        plan, trial = (row.row.plan(registry, [*choice, *more]) for more in ((), apart))
        found.append(Candidate(choice, plan, trial))
    return replace(row, candidates=tuple(found))
