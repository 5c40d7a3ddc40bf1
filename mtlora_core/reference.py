"""Every key that may be written, with its type, default and help, as rows and as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from .component import KINDS
from .declared import options_class
from .recipe import Recipe
from .recipe.model import PartSpec
from .registry import Installed, Registry


class Key(NamedTuple):
    """What there is to know of a key."""

    type: str
    """As a recipe's author thinks of it: ``mean | cls | null``, ``list of str``."""
    default: str | None
    """As a recipe would write it; None where the key is required, or a mapping of its own keys."""
    help: str


def describe(options: type[BaseModel]) -> Mapping[str, Key]:
    """Return each option's type, default and help, as ``mtlora plugins info`` shows them.

    The options of a nested mapping follow it, under dotted names; ``rows[].name`` is that of each
    in a list. Of a list whose members have a sibling's keys, only what they add follows.
    """
    rows: dict[str, Key] = {}
    told: list[type[BaseModel]] = []
    for name, field in options.model_fields.items():
        name = field.alias or name
        rows[name] = Key(_type_name(field.annotation), _default(field), _text(field.description))
        for model, inside in _models(field.annotation):
            bases = [base for base in told if model is not base and issubclass(model, base)]
            known = {key for base in bases for key in describe(base)}
            own = {key: row for key, row in describe(model).items() if key not in known}
            rows |= {f"{name}{inside}.{key}": row for key, row in own.items()}
            told.append(model)
    return rows


def _default(field: FieldInfo) -> str | None:
    value: Any = field.get_default(call_default_factory=True)
    if field.is_required() or isinstance(value, BaseModel):
        return None
    if isinstance(value, str) and value:
        return value
    return json.dumps(to_jsonable_python(value))


def _text(help: str | None) -> str:
    return " ".join((help or "").replace("``", "`").split())


def _models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the mappings that a value may be, or be a list of, with what stands for a member."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    elif origin is Annotated:
        yield from _models(inner[0])
    elif origin in (Union, UnionType):
        for each in inner:
            yield from _models(each)
    elif origin in (tuple, list):
        yield from ((model, f"[]{inside}") for model, inside in _models(inner[0]))


def _type_name(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(inner[0])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " | ".join(_type_name(each) for each in inner)
    if origin in (tuple, list):
        return f"list of {_type_name(inner[0])}"
    if origin is Mapping or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    name: str = getattr(annotation, "__name__", str(annotation))
    return _WORDS.get(annotation, name)


_WORDS = {NoneType: "null", PartSpec: "part", Path: "path"}


def recipe_page(registry: Registry) -> Iterator[str]:
    """Yield the lines of a page of Markdown: a recipe's keys, and those of every installed part.

    Raises:
        PluginError: a part's options cannot be loaded.
    """
    yield from ("# Recipes, key by key", "", _OF_RECIPES, "", *table(describe(Recipe)))
    for kind in KINDS:
        if {kind, f"{kind}s"} & {*Recipe.model_fields}:
            yield from kind_section(kind, registry)


_OF_RECIPES = """\
Dotted keys are as `--set` takes them; in a recipe they are nested mappings. Beside them, `extends`
names recipes to start from: a path, the name of a bundled one, or a list. A part is a mapping with
`use: NAME` and, beside it, the options that stand below under its name; a part without options may
be written as its name. This page has the parts of this project: `mtlora schema --markdown` prints
it with those that are installed."""


def kind_section(kind: str, registry: Registry) -> Iterator[str]:
    """Yield the lines of what a kind's installed parts do, and of their options.

    Raises:
        PluginError: a part's options cannot be loaded.
    """
    yield from ("", f"## {kind.capitalize()}")
    for part in sorted(registry.parts(kind), key=lambda part: part.component.name):
        yield from ("", f"### `{part.component.name}`", "", _what_it_does(part))
        if rows := describe(options_class(part)):
            yield from ("", *table(rows))


def _what_it_does(part: Installed) -> str:
    component = part.component
    paper = f" ({component.paper})" if component.paper else ""
    return f"{component.summary[:1].upper()}{component.summary[1:]}{paper}. From `{part.package}`."


def table(rows: Mapping[str, Key]) -> Iterator[str]:
    """Yield a table of keys."""
    yield _row("key", "type", "default", "what it says")
    yield _row(*["---"] * 4)
    for name, key in rows.items():
        default = "" if key.default is None else f"`{key.default}`"
        yield _row(f"`{name}`", key.type, default, key.help)


def _row(*cells: str) -> str:
    inside = " | ".join(cell.replace("|", "\\|") for cell in cells)
    return f"| {inside} |"
