"""The JSON Schema of a recipe, with the options of every installed part, for editors."""

from __future__ import annotations

from typing import Any, get_args

from .component import KINDS
from .declared import options_class
from .errors import PluginError
from .recipe import EvaluateOptions, MeasureOptions, Recipe, SubsetOptions, TrainOptions
from .recipe.model import Tracker
from .registry import Installed, Registry

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_LISTED = {"regularizer": "regularizers"}
"""The kind of which a recipe has a list, and the list's key."""


def recipe_schema(registry: Registry) -> Schema:
    """Return the JSON Schema (2020-12) of a recipe.

    It holds for recipes that extend another too, so it asks of those for nothing that the other
    may say. Options that are not right together are for ``mtlora check``.
    """
    definitions: Schema = {}
    properties = {
        "extends": {
            "description": "Recipes to start from: paths, or names of bundled recipes.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        },
        **_own_properties(definitions),
    }
    for kind in KINDS:
        key = _LISTED.get(kind, kind)
        if key not in Recipe.model_fields:
            continue  # an executor runs recipes and is no part of one
        definitions[kind] = kind_schema(kind, registry, definitions)
        part: Schema = {"$ref": f"#/$defs/{kind}"}
        properties[key] = _help(key) | ({"type": "array", "items": part} if key != kind else part)
    for key in ("router", "regularizers"):
        properties[key] = _help(key) | {"anyOf": [properties[key], {"type": "null"}]}
    required = [name for name, each in Recipe.model_fields.items() if each.is_required()]
    return {
        "$schema": DIALECT,
        "title": "A recipe of mtlora",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "anyOf": [{"required": ["extends"]}, {"required": required}],
        "$defs": definitions,
    }


def _help(key: str) -> Schema:
    return {"description": Recipe.model_fields[key].description}


def _own_properties(definitions: Schema) -> Schema:
    """Return the schemas of what is no part, as the recipe itself checks it."""
    train = _model_schema(TrainOptions, "train", definitions)
    evaluate = _model_schema(EvaluateOptions, "evaluate", definitions)
    subset = _model_schema(SubsetOptions, "subset", definitions)
    measure = _model_schema(MeasureOptions, "measure", definitions)
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        "name": _help("name") | {"type": "string"},
        "seed": _help("seed") | {"type": "integer", "minimum": 0},
        "train": train | _help("train"),
        "evaluate": evaluate | _help("evaluate"),
        "measure": measure | _help("measure"),
        "subset": _help("subset") | {"anyOf": [subset, {"type": "null"}]},
        "requires": _help("requires") | texts,
        "observe": _help("observe") | texts,
        "track": _help("track") | {"type": "array", "items": {"enum": [*get_args(Tracker)]}},
    }


def kind_schema(kind: str, registry: Registry, definitions: Schema) -> Schema:
    """Return what may stand for a part: its name, or a mapping; without `use`, it extends one.

    What it refers to goes to ``definitions``.
    """
    parts = registry.parts(kind)
    names = [name for part in parts for name in _names(part, parts)]
    variants: list[Schema] = [
        {"type": "string", "enum": sorted(set(names))},
        {"type": "object", "not": {"required": ["use"]}},
    ]
    variants += [_part_schema(part, _names(part, parts), definitions) for part in parts]
    return {"anyOf": variants}


def _names(part: Installed, parts: list[Installed]) -> list[str]:
    name = part.component.name
    alone = sum(each.component.name == name for each in parts) == 1
    return [name] * alone + [f"{part.package}/{name}"]


def _part_schema(part: Installed, names: list[str], definitions: Schema) -> Schema:
    component = part.component
    use = {"enum": names, "description": component.summary}
    schema: Schema = {"type": "object", "title": part.title, "description": component.summary}
    prefix = f"{component.kind}.{part.package}.{component.name}"
    try:
        model = options_class(part)
        with part.origin.calling("its JSON Schema"):
            options = _model_schema(model, prefix, definitions)
    except PluginError:
        # `mtlora plugins info` tells what is wrong, and a type of any kind may have no schema; an
        # editor still knows the part's name.
        return {**schema, "properties": {"use": use}, "required": ["use"]}
    return {
        **schema,
        "properties": {"use": use, **options.get("properties", {})},
        "required": ["use"],
        "additionalProperties": False,
    }


def _model_schema(model: type[Any], prefix: str, definitions: Schema) -> Schema:
    """Return a model's schema; what it refers to goes to ``definitions`` under ``prefix``."""
    schema: Schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = definition
    return schema
