"""What an ablation's file says: its shape checked, none of its recipes read yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeInt, PositiveInt

from ..errors import RecipeError
from ..options import RecipeText, located
from ..recipe import validated
from ..recipe.files import is_bare, read_file
from ..recipe.model import Part, folder_name
from ..recipe.node import Node, Places
from ..recipe.section import Section

T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(strict=False, min_length=1)]
Matched = Literal["steps", "parameters"]

_OWN_KEYS = ("recipe", "rows")
"""Keys of an ablation that no recipe has."""


class RowOptions(Section):
    """One row of the table."""

    name: str
    """What the row is called."""

    start: Annotated[str | None, Field(alias="from")] = None
    """Another row, whose recipe and changes this one begins with."""

    recipe: str | None = None
    """A recipe of its own: a path relative to the file, or the name of a bundled one."""

    set: Mapping[str, Any] = {}
    """What the row changes, by dotted keys as in ``--set``."""


class TuneOptions(Section):
    """What is chosen for each row on validation data: a list of values for each key."""

    model_config = ConfigDict(extra="allow")

    seeds: Listed[NonNegativeInt] = (100,)
    """Of the tuning runs; none may be among those reported."""

    steps: PositiveInt | None = None
    """Of the tuning runs; left out: those of the recipe."""


class AblationOptions(Section):
    """One recipe, or several, and what is to be compared."""

    name: Annotated[str, AfterValidator(folder_name)] | None = None
    """What the ablation is called, and its folder; left out: after its file."""

    recipe: str | None = None
    """What rows start from: a path relative to the file, or the name of a bundled recipe."""

    seeds: PositiveInt | Listed[NonNegativeInt] | None = None
    """Of every row: how many, counted from 0, or which. Left out: the recipe's own."""

    set: Mapping[str, Any] = {}
    """What is changed in every row, by dotted keys as in ``--set``."""

    rows: Listed[RowOptions] | None = None
    """The rows; left out: the recipe, and whatever is swapped in it."""

    leave_one_out: bool | Mapping[str, Any] = False
    """Rows that each lack one part of the recipe: every regularizer in turn, and the router. A
    mapping says for other keys which plain value stands in, such as ``placement: component``."""

    swap: Mapping[str, Listed[Any]] = {}
    """Values by dotted key; every combination is a row."""

    tasks: Listed[PositiveInt] | None = None
    """Numbers of tasks, a row each, every smaller set within the larger ones."""

    baseline: str | None = None
    """The row that others are compared with; left out: the first."""

    tune: TuneOptions | None = None
    """What is chosen for each row on validation data."""

    match: Matched | None = None
    """Give every row the baseline's number of ``steps``, or by its rank of ``parameters``."""

    executor: Part | None = None
    """Where cells run; left out: in processes of this machine."""


def read_definition(path: Path) -> tuple[Node, str | None]:
    """Read an ablation's file; a recipe's stands for an ablation of that recipe.

    Returns:
        What it says, and what an ablation's file is called; None for a recipe.

    Raises:
        RecipeError: it cannot be read.
    """
    bundled = is_bare(str(path)) and not path.exists()
    root = Node({}) if bundled else read_file(path, str(path))
    if any(key in (root.entries or {}) for key in _OWN_KEYS):
        return root, path.stem
    return Node({"recipe": Node(RecipeText(str(path), Path.cwd()))}), None


def source_of(node: Node) -> str | Path:
    """Return what a ``recipe:`` names: a bundled recipe, or a file, relative to where it stands."""
    text = str(node.value)
    if is_bare(text):
        return text
    path = Path(located(node.value))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def checked(root: Node) -> AblationOptions:
    """Return what an ablation says.

    Raises:
        RecipeError: every problem of its shape, by file and line.
    """
    where = Places.of(root).where
    options = validated(AblationOptions, root.plain(), where)
    problems = [f"{where(*keys)}: {reason}" for keys, reason in _problems(options)]
    if problems:
        raise RecipeError(problems)
    return options


Problem = tuple[tuple[str | int, ...], str]


def _problems(options: AblationOptions) -> Iterator[Problem]:
    if options.rows and options.leave_one_out:
        yield ("leave_one_out",), "makes rows of its own; leave out rows, or this"
    if options.recipe is None and options.rows is None:
        yield ("recipe",), "is required, where no rows name recipes of their own"
    for index, row in enumerate(options.rows or ()):
        yield from _row_problems(options, row, ("rows", index))
    for key in ("set", "swap"):
        if "seed" in getattr(options, key):
            yield (key, "seed"), "the seeds of an ablation are its own; write seeds"
    if options.tune is not None:
        yield from _tune_problems(options.tune)


def _row_problems(
    options: AblationOptions, row: RowOptions, keys: tuple[str | int, ...]
) -> Iterator[Problem]:
    if row.recipe and row.start:
        yield (*keys, "recipe"), f"the row begins with {row.start!r} already; not both"
    if not (row.recipe or row.start or options.recipe):
        yield keys, "has neither a recipe nor a row that it begins with"
    if "seed" in row.set:
        yield (*keys, "set"), "the seeds of an ablation are its own; write seeds"


def _tune_problems(tune: TuneOptions) -> Iterator[Problem]:
    for key, values in (tune.model_extra or {}).items():
        if not isinstance(values, list) or len(values) < 2:
            yield ("tune", key), f"must be a list of values to choose from, not {values!r}"
    if not tune.model_extra:
        yield ("tune",), "names nothing to choose, such as train.learning_rate: [1e-4, 1e-3]"
