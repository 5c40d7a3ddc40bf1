"""The JSON Schema of an ablation's file, for editors."""

from __future__ import annotations

from ..registry import Registry
from ..schema import DIALECT, Schema, kind_schema
from .definition import AblationOptions


def ablation_schema(registry: Registry) -> Schema:
    """Return the JSON Schema (2020-12) of an ablation's file, with every installed executor.

    What rows and swaps change is checked with the recipes that they are made of, by
    ``mtlora ablate --dry-run``.
    """
    schema = AblationOptions.model_json_schema()
    definitions = schema.pop("$defs")
    definitions["executor"] = kind_schema("executor", registry, definitions)
    definitions["TuneOptions"]["additionalProperties"] = {"type": "array", "minItems": 2}
    executor = schema["properties"]["executor"]
    executor["anyOf"] = [{"$ref": "#/$defs/executor"}, {"type": "null"}]
    del definitions["PartSpec"]  # how a part is kept, not how it is written
    return {"$schema": DIALECT, **schema, "title": "An ablation of mtlora", "$defs": definitions}
