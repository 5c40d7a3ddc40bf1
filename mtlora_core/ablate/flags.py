"""An ablation's flags, written into what its file says as if they stood there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from ..recipe.edits import read_value
from ..recipe.node import Node, Position
from ..recipe.text import read_yaml
from .settings import choices_of


@dataclass(frozen=True)
class Flags:
    """What the command line says of an ablation, as it was typed."""

    swap: Sequence[str] = ()
    set: Sequence[str] = ()
    tune: Sequence[str] = ()
    tune_seeds: str | None = None
    tune_steps: int | None = None
    seeds: str | None = None
    tasks: str | None = None
    match: str | None = None
    baseline: str | None = None
    executor: str | None = None

    def written_into(self, root: Node) -> Node:
        """Return an ablation with the flags in it; of a key that both have, theirs counts.

        Raises:
            RecipeError: flags of another form, all of them.
        """
        problems: list[str] = []
        entries = dict(root.entries or {})
        for key in ("swap", "tune"):
            _add(entries, key, _choices(key, getattr(self, key), problems))
        _add(entries, "set", _assignments(self.set, problems))
        tuned = {
            "seeds": _listed("--tune-seeds", self.tune_seeds, problems),
            "steps": _plain("--tune-steps", self.tune_steps),
        }
        _add(entries, "tune", {key: node for key, node in tuned.items() if node is not None})
        own = {
            "seeds": _listed("--seeds", self.seeds, problems),
            "tasks": _listed("--tasks", self.tasks, problems, always=True),
            **{
                key: _plain(f"--{key}", getattr(self, key))
                for key in ("match", "baseline", "executor")
            },
        }
        if problems:
            raise RecipeError(problems)
        return Node(
            {**entries, **{k: node for k, node in own.items() if node is not None}}, root.at
        )


def _add(entries: dict[str, Node], key: str, more: Mapping[str, Node]) -> None:
    if more:
        before = entries.get(key)
        entries[key] = Node({**((before.entries if before else None) or {}), **more})


def _choices(flag: str, texts: Sequence[str], problems: list[str]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for text in texts:
        try:
            key, values = choices_of(text, Position(f"--{flag} {text}"), Path.cwd())
        except RecipeError as error:
            problems += error.problems
            continue
        if key in found:
            problems.append(f"--{flag} {text}: {key} is given twice; write its values together")
        found[key] = values
    return found


def _assignments(texts: Sequence[str], problems: list[str]) -> dict[str, Node]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        at = Position(f"--set {text}")
        try:
            if not equals or not key.strip():
                raise RecipeError(
                    f"{at}: write a key, '=' and a value, such as --set train.steps=5"
                )
            found[key.strip()] = read_value(value, at, Path.cwd())
        except RecipeError as error:
            problems += error.problems
    return found


def _listed(
    flag: str, text: str | None, problems: list[str], *, always: bool = False
) -> Node | None:
    """Return ``0,1,2`` as a list, and a single number as one, unless it is ``always`` a list."""
    if text is None:
        return None
    at = Position(f"{flag} {text}")
    try:
        node = read_yaml(f"[{text}]", lambda line, column: at, Path.cwd())
    except RecipeError as error:
        problems += error.problems
        return None
    assert node is not None
    alone = len(node.value) == 1 and "," not in text and not always
    return node.value[0] if alone else node


def _plain(flag: str, value: object) -> Node | None:
    return None if value is None else Node(value, Position(f"{flag} {value}"))
