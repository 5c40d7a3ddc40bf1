"""YAML text: the core schema, its bounds, and positions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mtlora_core.errors import RecipeError
from mtlora_core.options import RecipeText
from mtlora_core.recipe import dump_recipe
from mtlora_core.recipe.node import DEPTH, Node, Position
from mtlora_core.recipe.text import VALUES, read_yaml


def read(text: str) -> Node:
    node = read_yaml(text, lambda line, column: Position("r.yaml", line, column), Path("/here"))
    assert node is not None
    return node


def problems(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(text)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("2.0e-4", 2e-4),
        ("2e-4", 2e-4),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01 10:00:00", "2024-05-01 10:00:00"),
        ("'3'", "3"),
        ('"true"', "true"),
        ("!!str 3", "3"),
        ("!!int 3", 3),
        ("9" * 5000, math.inf),
    ],
)
def test_scalars_mean_what_the_core_schema_of_yaml_1_2_says(text: str, value: Any) -> None:
    found = read(f"a: {text}").plain()["a"]

    assert found == value
    assert isinstance(found, type(value))


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(read("a: .nan").plain()["a"])


def test_every_value_has_the_place_of_its_key_or_of_itself() -> None:
    root = read("a: 1\nb:\n  - x\n  - {c: 2}\n")

    assert str(root.value["a"].at) == "r.yaml:1:1"
    assert str(root.value["b"].value[0].at) == "r.yaml:3:5"
    assert str(root.value["b"].value[1].value["c"].at) == "r.yaml:4:6"


def test_text_knows_the_folder_of_its_file() -> None:
    text = read("a: data").plain()["a"]

    assert isinstance(text, RecipeText)
    assert text.folder == Path("/here")


def test_an_alias_repeats_its_value_at_the_place_of_its_own_key() -> None:
    root = read("a: &x {k: 1}\nb: *x\n")

    assert root.plain() == {"a": {"k": 1}, "b": {"k": 1}}
    assert str(root.value["b"].at) == "r.yaml:2:1"


def test_a_duplicate_key_names_both_places() -> None:
    assert problems("a: 1\nb: 2\na: 3\n") == [
        "r.yaml:3:1: 'a' is written twice; first at r.yaml:1:1"
    ]


def test_every_slip_that_leaves_it_readable_is_told_at_once() -> None:
    found = problems("a: 1\na: 2\nb: !thing 3\n? [k]\n: 4\n<<: {c: 5}\n")

    assert [line.split(":")[1] for line in found] == ["2", "3", "4", "6"]
    assert "tags such as '!thing'" in found[1]
    assert "plain text" in found[2]
    assert "extends" in found[3]


def test_a_tag_that_asks_for_an_object_is_refused() -> None:
    assert "no tags" in problems("a: !!python/object/apply:os.system ['true']")[0]


def test_an_alias_bomb_is_stopped_before_it_is_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]

    (found,) = problems("\n".join(lines))

    assert found.startswith("r.yaml:4:")
    assert f"more than {VALUES:,} values" in found


def test_as_many_values_as_are_allowed_can_be_read() -> None:
    assert len(read(f"a: [{'1,' * (VALUES - 2)}]").value["a"].value) == VALUES - 2
    assert "values" in problems(f"a: [{'1,' * (VALUES - 1)}]")[0]


def test_an_alias_of_itself_is_told() -> None:
    assert problems("a: &a [*a]")[0].startswith("r.yaml:1:8: *a stands for nothing")


def test_nesting_is_bounded() -> None:
    deepest = f"{'[' * DEPTH}{']' * DEPTH}"

    read(deepest)
    assert "nested more than" in problems(f"[{deepest}]")[0]
    assert "nested more than" in problems("[" * 100_000)[0]


def test_nesting_through_aliases_is_bounded() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 40)]

    assert "nested more than" in problems("\n".join(lines))[0]


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: [1\nb: 2", "2:2"), ("a: b: c", "1:5"), ("a:\n\t- b", "2:1"), ("a: 'x", "1:6")],
)
def test_what_is_not_yaml_is_told_with_its_place(text: str, place: str) -> None:
    (found,) = problems(text)

    assert found.startswith(f"r.yaml:{place}: not valid YAML: ")


def test_a_character_that_yaml_does_not_allow_is_told() -> None:
    assert "not readable as YAML" in problems("a: \x01")[0]


def test_a_second_document_is_told() -> None:
    assert problems("a: 1\n---\nb: 2\n") == ["r.yaml:2:1: a second document; a recipe is one"]


def test_nothing_but_comments_is_nothing() -> None:
    assert read_yaml("# nothing\n\n", lambda line, column: Position("r"), Path()) is None


words = st.text("ab01.-+_:#'\"\\ \n\t~{}[],&*!|>%@=?éß😀\u2028\x07")
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(words, plain, max_size=4))
@example({"a": "2024-05-01", "b": "0o17", "c": "null", "d": "1e5", "e": "<<", "f": "\x85"})
def test_what_is_written_is_read_back_the_same(data: dict[str, Any]) -> None:
    assert read(dump_recipe(data)).plain() == data
