"""The JSON Schemas of a recipe and of an ablation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from parts import plugin, recipe_with, registry_of, router
from ruamel.yaml import YAML

from mtlora_core.ablate.definition import AblationOptions
from mtlora_core.ablate.schema import ablation_schema
from mtlora_core.component import Component
from mtlora_core.options import Options
from mtlora_core.recipe import Recipe
from mtlora_core.registry import Registry
from mtlora_core.schema import recipe_schema


def schema_with(**plugins: object) -> dict[str, Any]:
    return recipe_schema(registry_of(**plugins))


def variants(kind: str, schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the mappings that may stand for a part, by title."""
    return {each["title"]: each for each in schema["$defs"][kind]["anyOf"] if "title" in each}


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def test_a_schema_has_every_key_of_a_recipe_and_no_other() -> None:
    schema = schema_with()

    assert schema["properties"].keys() == {*Recipe.model_fields, "extends"}
    assert schema["additionalProperties"] is False


def test_a_schema_is_json_and_every_reference_leads_somewhere() -> None:
    schema = json.loads(json.dumps(schema_with()))

    for reference in references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


def test_every_installed_part_has_its_options_with_their_help() -> None:
    many = variants("experts", schema_with())["toys/many (0+unpackaged)"]

    assert many["properties"]["use"]["enum"] == ["many", "toys/many"]
    assert many["properties"]["count"]["description"] == "How many."
    assert many["properties"]["count"]["exclusiveMinimum"] == 0
    assert many["additionalProperties"] is False


def test_a_part_may_be_written_as_its_name_alone() -> None:
    names = schema_with()["$defs"]["router"]["anyOf"][0]["enum"]

    assert "each" in names
    assert "toys/each" in names


def test_a_name_that_two_packages_have_is_offered_with_its_package_only() -> None:
    schema = schema_with(twin=plugin(router("each", "token")))

    assert "each" not in schema["$defs"]["router"]["anyOf"][0]["enum"]
    assert variants("router", schema)["twin/each (0+unpackaged)"]["properties"]["use"]["enum"] == [
        "twin/each"
    ]


def test_a_part_whose_options_cannot_be_loaded_keeps_its_name() -> None:
    broken = Component("tasks", "rough", "nowhere:Options", "x:y", "rough")

    rough = variants("tasks", schema_with(rough=plugin(broken)))["rough/rough (0+unpackaged)"]

    assert rough["properties"].keys() == {"use"}
    assert "additionalProperties" not in rough


class Hooked(Options):
    """An option of a type that JSON Schema has no words for."""

    call: Callable[[int], int] | None = None


def test_a_part_whose_options_have_no_schema_keeps_its_name_and_stops_no_other() -> None:
    odd = Component("tasks", "odd", f"{__name__}:Hooked", "x:y", "odd")

    found = variants("tasks", schema_with(theirs=plugin(odd)))

    assert found["theirs/odd (0+unpackaged)"]["properties"].keys() == {"use"}
    assert "root" in found["toys/data (0+unpackaged)"]["properties"]


def test_a_recipe_that_extends_another_needs_no_other_key() -> None:
    extending, whole = schema_with()["anyOf"]

    assert extending == {"required": ["extends"]}
    assert whole == {"required": ["name", "backbone", "placement", "experts", "tasks"]}


def test_recipes_hold_to_the_schema_and_slips_do_not() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="a validator shows what an editor shows")
    validator = jsonschema.Draft202012Validator(schema_with(more=plugin(router("x", "token"))))
    good = [
        recipe_with(),
        recipe_with(train={"sampling": "uniform", "clip": None}),
        recipe_with(train={"sampling": {"by": "uniform"}}, router="each"),
        {"extends": "base", "router": {"groups": 2}, "regularizers": None},
    ]
    bad = [
        recipe_with(rooter="each"),
        recipe_with(router={"use": "each", "groups": 2}),
        recipe_with(router="eech"),
        recipe_with(train={"sampling": "most"}),
        recipe_with(name=None),
    ]

    assert [validator.is_valid(recipe) for recipe in good] == [True] * len(good)
    assert [validator.is_valid(recipe) for recipe in bad] == [False] * len(bad)


# Of an ablation.


def test_the_ablations_schema_has_every_key_of_a_file_and_the_executors() -> None:
    schema = ablation_schema(registry_of())

    assert schema["properties"].keys() == AblationOptions.model_fields.keys()
    for reference in references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


def test_the_bundled_ablations_hold_to_the_schema_and_slips_do_not() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="a validator shows what an editor shows")
    validator = jsonschema.Draft202012Validator(ablation_schema(Registry.discover()))
    files = sorted((Path(__file__).parents[1] / "examples" / "ablations").glob("*.yaml"))
    bundled = [YAML(typ="safe").load(path) for path in files]
    bad = [
        {"recipe": "mtlora", "seed": 3},
        {"recipe": "mtlora", "rows": [{"set": {"seed": 1}}]},
        {"recipe": "mtlora", "match": "step"},
        {"recipe": "mtlora", "tune": {"train.learning_rate": 1e-3}},
        {"recipe": "mtlora", "executor": {"use": "local", "minuets": 3}},
    ]

    assert bundled
    assert [list(validator.iter_errors(each)) for each in bundled] == [[]] * len(bundled)
    assert [validator.is_valid(each) for each in bad] == [False] * len(bad)
