"""Training, validation and test rows: as they are read, or cut from the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtlora_core.errors import DataError
from mtlora_core.inputs import identity
from mtlora_core.seeds import derive
from mtlora_core.tasks import Split

from .draw import by_hash, by_seed, draw
from .entry import TaskEntry
from .row import Row

Rows = Mapping[Split, list[Row]]


def cut(entry: TaskEntry, name: str, rows: Rows, seed: int) -> Rows:
    """Return the splits of a task, with those that have no rows cut from its training rows.

    Each split is drawn with a seed of its own, so that another share of one leaves the other as
    it is. The rows of a split stay in the order of their files.

    Raises:
        DataError: a share is less than one row.
    """
    everything = len(rows["train"])
    train, splits = rows["train"], dict(rows)
    cuts: tuple[Split, ...] = ("test", "validation")
    for split in cuts:
        share = entry.share(split)
        if share is not None and not rows[split]:
            order = _order(entry, train, seed, name, split)
            drawn = draw(_strata(entry, train), round(share * everything), order)
            if not drawn:
                raise DataError(_no_row(name, split, share, everything))
            splits[split] = _chosen(train, drawn)
            train = _chosen(train, set(range(len(train))) - drawn)
    return {**splits, "train": _limited(entry, name, train, seed)}


def _limited(entry: TaskEntry, name: str, train: list[Row], seed: int) -> list[Row]:
    if entry.limit is None or entry.limit >= len(train):
        return train
    order = _order(entry, train, seed, name, "limit")
    return _chosen(train, draw(_strata(entry, train), entry.limit, order, spare=0))


def _strata(entry: TaskEntry, rows: Sequence[Row]) -> list[str]:
    return [row.label if entry.objective == "classification" else "" for row in rows]


def _chosen(rows: list[Row], drawn: set[int]) -> list[Row]:
    return [row for index, row in enumerate(rows) if index in drawn]


def _order(
    entry: TaskEntry, rows: Sequence[Row], seed: int, name: str, stream: str
) -> Sequence[int]:
    if entry.split_by == "hash":
        return by_hash([f"{identity(row.input)}\0{row.label}" for row in rows], stream)
    return by_seed(len(rows), derive(seed, "tasks", name, stream))


def _no_row(name: str, split: str, share: float, everything: int) -> str:
    return (
        f"task {name!r}: a share of {share:g} of {everything} training rows leaves the {split} "
        "split empty; write a larger share, or name files"
    )
