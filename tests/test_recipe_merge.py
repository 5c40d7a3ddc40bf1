"""Layers of a recipe: merging, changing parts, and ``--set``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import recipe_with

from mtlora_core.errors import RecipeError
from mtlora_core.recipe import PartSpec, dump_recipe, load_recipe
from mtlora_core.recipe.merge import merged
from mtlora_core.recipe.node import node_of

HERE = Path("/here")


def changed(*overrides: str, **changes: Any) -> dict[str, PartSpec]:
    recipe = load_recipe(recipe_with(**changes), overrides)
    return {".".join(map(str, keys)): spec for keys, spec in recipe.parts()}


def problems(*overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_with(), overrides)
    return list(caught.value.problems)


def test_an_option_is_set_and_the_others_stay() -> None:
    assert changed("experts.rank=9")["experts"].options == {"count": 3, "rank": 9}


def test_values_of_overrides_are_yaml() -> None:
    options = changed("tasks.columns={a: b}", "tasks.root=", "experts.count='3'")

    assert options["tasks"].options == {"columns": {"a": "b"}, "root": None}
    assert options["experts"].options["count"] == "3"


def test_the_first_equals_sign_ends_the_key() -> None:
    assert changed("backbone.model=a=b")["backbone"].options["model"] == "a=b"


def test_an_item_of_a_list_is_set_by_its_number() -> None:
    parts = changed("regularizers.0.weight=2", "regularizers.1=apart")

    assert parts["regularizers.0"].options == {"weight": 2}
    assert parts["regularizers.1"].use == "apart"


def penalties(override: str, **changes: Any) -> tuple[PartSpec, ...]:
    """Return the regularizers of a recipe, after an override."""
    return load_recipe(recipe_with(**changes), [override]).regularizers


@pytest.mark.parametrize(
    ("edit", "uses"),
    [
        ("+third", ["apart", "even", "third"]),
        ("+{use: third, weight: 2}", ["apart", "even", "third"]),
        ("-apart", ["even"]),
        ("-even", ["apart"]),
        ("[third]", ["third"]),
    ],
)
def test_a_list_of_parts_can_be_edited(edit: str, uses: list[str]) -> None:
    parts = penalties(f"regularizers={edit}")

    assert [part.use for part in parts] == uses
    assert ({"weight": 2} in [part.options for part in parts]) == ("weight" in edit)


def test_an_entry_is_found_by_its_bare_name_and_by_its_package() -> None:
    three = [{"use": "a/same"}, {"use": "b/same"}, "b/other"]

    bare = penalties("regularizers=-same", regularizers=three)
    full = penalties("regularizers=-b/same", regularizers=three)

    assert [part.use for part in bare] == ["b/other"]
    assert [part.use for part in full] == ["a/same", "b/other"]


def test_any_list_can_be_edited_and_only_a_list() -> None:
    tasks = {"use": "data", "columns": ["a", "b"], "root": "x"}

    found = changed("tasks.columns=+c", "tasks.columns=-a", "tasks.root=+y", tasks=tasks)["tasks"]

    assert found.options == {"columns": ["b", "c"], "root": "+y"}


def test_an_edit_of_nothing_begins_a_list_and_a_number_is_no_edit() -> None:
    tasks = {"use": "data", "columns": [1]}

    assert [part.use for part in penalties("regularizers=+even", regularizers=None)] == ["even"]
    assert changed("tasks.columns=-1", tasks=tasks)["tasks"].options == {"columns": -1}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ("+apart", "regularizers has 'apart' already"),
        ("-third", "regularizers has no 'third'; it has apart, even"),
        ("+{use: third", "not valid YAML"),
    ],
)
def test_an_edit_that_cannot_be_made_says_why(edit: str, reason: str) -> None:
    (found,) = problems(f"regularizers={edit}")

    assert found.startswith(f"--set regularizers={edit}: {reason}")


@pytest.mark.parametrize("override", ["router.use=each", "router=each"])
def test_another_use_carries_the_options_of_the_one_before(override: str) -> None:
    router = changed(override)["router"]

    assert router.use == "each"
    assert router.options == {"groups": 4}
    assert router.carried == {"groups"}


def test_a_whole_mapping_replaces_the_part() -> None:
    router = changed("router={use: each}")["router"]

    assert router == PartSpec("each", {})


def test_an_option_written_after_the_change_is_the_new_part_s_own() -> None:
    assert changed("router=each", "router.groups=2")["router"].carried == frozenset()


def test_an_option_written_with_the_change_is_the_new_part_s_own(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(dump_recipe(recipe_with()))
    (tmp_path / "r.yaml").write_text("extends: base.yaml\nexperts: {use: one, rank: 2}")

    experts = load_recipe(tmp_path / "r.yaml").experts

    assert experts.options == {"count": 3, "rank": 2}
    assert experts.carried == {"count"}


def test_the_same_use_again_carries_nothing() -> None:
    assert changed("router=grouped")["router"] == PartSpec("grouped", {"groups": 4})


def test_structures_of_two_parts_replace_each_other(tmp_path: Path) -> None:
    base = recipe_with(tasks={"use": "data", "columns": {"a": "b"}})
    (tmp_path / "base.yaml").write_text(dump_recipe(base))
    text = "extends: base.yaml\ntasks: {use: %s, columns: {c: d}}"

    (tmp_path / "same.yaml").write_text(text % "data")
    (tmp_path / "other.yaml").write_text(text % "other")

    same, other = (load_recipe(tmp_path / f"{name}.yaml").tasks for name in ("same", "other"))
    assert same.options == {"columns": {"a": "b", "c": "d"}}
    assert other.options == {"columns": {"c": "d"}}


def test_a_router_can_be_added_and_taken_away() -> None:
    assert changed("router.use=each", router=None)["router"] == PartSpec("each", {})
    assert "router" not in changed("router=null")


def test_steps_set_later_stand_for_epochs_written_before_and_the_other_way_round() -> None:
    by_steps = load_recipe(recipe_with(train={"epochs": 3, "clip": 2}), ["train.steps=7"]).train
    by_epochs = load_recipe(recipe_with(train={"steps": 7}), ["train.epochs=2"]).train

    assert (by_steps.epochs, by_steps.steps, by_steps.clip) == (None, 7, 2)
    assert (by_epochs.epochs, by_epochs.steps) == (2, None)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("nonsense", "write a key, '=' and a value"),
        ("=3", "'' is no key; write one such as train.epochs"),
        ("a..b=3", "'a..b' is no key; write one such as train.epochs"),
        ("a={", "not valid YAML"),
        ("regularizers.2.weight=1", "a list of 2, counted from 0; it has no '2'"),
        ("regularizers.first=1", "it has no 'first'"),
        ("name.first=1", "name is 'toy', which has no keys"),
        ("router.groups.first=1", "router.groups is 4, which has no keys"),
        ("rooter.use=each", "rooter: no such key; did you mean 'router'?"),
        ("train.batch_size=0", "train.batch_size: should be greater than 0, not 0"),
        ("extends=x", "extends: no such key"),
    ],
)
def test_an_override_that_cannot_be_made_names_itself(override: str, reason: str) -> None:
    (found,) = problems(override)

    assert found.startswith(f"--set {override}: ")
    assert reason in found


def test_every_override_that_cannot_be_made_is_told() -> None:
    assert len(problems("a", "name.x=1", "regularizers.9=1")) == 1
    assert len(problems("name.x=1", "regularizers.9=1")) == 2


keys = st.sampled_from("abc")
scalars = st.integers(0, 3) | st.sampled_from(["x", "y"]) | st.lists(st.integers(0, 3), max_size=2)
trees = st.recursive(
    st.dictionaries(keys, scalars, max_size=3),
    lambda inner: st.dictionaries(keys, scalars | inner, max_size=3),
    max_leaves=6,
)


def merge(*layers: Any) -> Any:
    node = node_of(layers[0], HERE)
    for layer in layers[1:]:
        node = merged(node, node_of(layer, HERE))
    return node.plain()


def plainly(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {
        key: plainly(base[key], over[key])
        if key in base and key in over
        else (over if key in over else base)[key]
        for key in base | over
    }


@given(trees, trees)
def test_merging_is_the_obvious_recursion(base: Any, over: Any) -> None:
    assert merge(base, over) == plainly(base, over)


@given(trees, trees, trees)
def test_layers_can_be_merged_in_any_grouping_where_no_value_stands_for_a_mapping(
    a: Any, b: Any, c: Any
) -> None:
    shapes = [a, b, c]
    if not alike(shapes):
        return

    assert merge(merge(a, b), c) == merge(a, merge(b, c))


def alike(trees: list[Any]) -> bool:
    """Whether a key holds a mapping in every tree that has it, or in none."""
    for key in "abc":
        found = [tree[key] for tree in trees if key in tree]
        mappings = [value for value in found if isinstance(value, dict)]
        if mappings and (len(mappings) < len(found) or not alike(mappings)):
            return False
    return True


@given(trees)
def test_a_layer_over_itself_or_nothing_changes_nothing(tree: Any) -> None:
    assert merge(tree, tree) == tree == merge(tree, {}) == merge({}, tree)
