"""What a row of an ablation changes: one value of one key of the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..recipe.edits import read_value
from ..recipe.merge import is_part
from ..recipe.node import Node, Position
from ..recipe.overrides import Override, keys_of

PARTS = ("backbone", "placement", "experts", "router", "regularizers", "tasks")
"""Keys whose values say by themselves what they are."""
AS_IS = "as-is"
"""The value of a swap that leaves the recipe as it is, beside others that change it."""


@dataclass(frozen=True)
class Setting:
    """One value of one key."""

    key: str
    """Dotted, such as ``experts.count``."""
    shown: str
    """The value as people read it."""
    override: Override | None
    """The change; None leaves the recipe as it is."""
    title: str = ""
    """A name of its own, in place of key and value."""

    @property
    def label(self) -> str:
        """What a row with this setting is called: a part by itself, another value with its key."""
        if self.title:
            return self.title
        if self.override is None:
            return f"{self.key} {self.shown}"
        return self.shown if self.key in PARTS else f"{self.key.rpartition('.')[2]} {self.shown}"


def setting(key: str, value: Node) -> Setting:
    """Return the setting of ``key`` to a value with its position.

    Raises:
        RecipeError: the key is none.
    """
    at = value.at or Position(key)
    text = shown(value.plain())
    if value.value == AS_IS:
        return Setting(key, text, None)
    return Setting(key, text, Override(at, keys_of(key, at), value))


def settings_of(node: Node | None) -> Iterator[Setting]:
    """Yield the settings of a mapping of dotted keys.

    A section, ``train: {steps: 600}``, changes the keys that it has, and so does a part without
    ``use``; a part with ``use`` replaces the recipe's whole.
    """
    for key, entry in ((node.entries if node else None) or {}).items():
        inner = entry.entries
        if inner and "." not in key and not (is_part((key,)) and "use" in inner):
            yield from (setting(f"{key}.{name}", value) for name, value in inner.items())
        else:
            yield setting(key, entry)


def choices_of(text: str, at: Position, folder: Path) -> tuple[str, Node]:
    """Read ``key=value,value``; commas inside brackets and quotes do not part values.

    Returns:
        The key, and a list of the values.

    Raises:
        RecipeError: it has another form, or a value is not YAML.
    """
    key, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise RecipeError(f"{at}: write a key, '=' and values, such as router=token,fine-grained")
    keys_of(key, at)
    return key.strip(), Node([read_value(each, at, folder) for each in parted(values)], at)


def parted(text: str) -> list[str]:
    """Return what stands between the commas of ``text`` that are in no brackets or quotes."""
    pieces, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "[{(") - (letter in ")}]")
        if letter == "," and not quote and depth <= 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces]


def shown(value: Any) -> str:
    """Return a recipe's value in one line, a part with its name in front."""
    if isinstance(value, Mapping):
        rest = {key: entry for key, entry in value.items() if key != "use"}
        inner = ", ".join(f"{key}: {shown(entry)}" for key, entry in rest.items())
        name = str(value["use"]) if "use" in value else ""
        return f"{name} {{{inner}}}".strip() if rest or not name else name
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
