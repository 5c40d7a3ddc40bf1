"""Recipes from files: what extends what, and what bad input gets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from parts import recipe_with

from mtlora_core.errors import RecipeError
from mtlora_core.options import RecipeText
from mtlora_core.recipe import Recipe, dump_recipe, load_recipe

WHOLE = dump_recipe(recipe_with())
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(text: str = WHOLE, name: str = "r.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(source: str | Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides)
    assert caught.value.status == 2
    return list(caught.value.problems)


def test_a_file_becomes_a_recipe(write: Write) -> None:
    recipe = load_recipe(write())

    assert recipe.name == "toy"
    assert recipe.experts.use == "many"
    assert recipe.experts.options == {"count": 3}
    assert recipe.placement.use == "side"
    assert [spec.use for spec in recipe.regularizers] == ["apart", "even"]
    assert [keys for keys, _ in recipe.parts()] == [
        ("backbone",),
        ("placement",),
        ("experts",),
        ("router",),
        ("regularizers", 0),
        ("regularizers", 1),
        ("tasks",),
    ]


def test_a_recipe_cannot_be_changed(write: Write) -> None:
    recipe = load_recipe(write())

    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


def test_where_a_recipe_was_written_is_no_part_of_what_it_says(write: Write) -> None:
    written, given = load_recipe(write("# a comment\n" + WHOLE)), load_recipe(recipe_with())

    assert written == given
    assert written.where("router", "groups") == "r.yaml:12:3: router.groups"
    assert written.where("router", "temperature") == "r.yaml:10:1: router.temperature"
    assert given.where("router", "groups") == "router.groups"


def test_a_recipe_is_written_and_read_back_the_same(write: Write) -> None:
    recipe = load_recipe(recipe_with(seed=3, train={"steps": 5, "clip": None}))

    assert load_recipe(write(dump_recipe(recipe.to_json()))) == recipe


def test_several_problems_of_one_file_are_told_at_once_with_their_places(write: Write) -> None:
    text = "rooter: each\nseed: x\ntrain:\n  epoch: 3\n  batch_size: 0\n" + WHOLE

    assert sorted(problems(write(text))) == [
        "r.yaml:1:1: rooter: no such key; did you mean 'router'?",
        "r.yaml:2:1: seed: should be a valid integer, not 'x'",
        "r.yaml:4:3: train.epoch: no such key; did you mean 'epochs'?",
        "r.yaml:5:3: train.batch_size: should be greater than 0, not 0",
    ]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("router", 3, "is 3; write a part's name"),
        ("router", {"groups": 2}, "does not say which"),
        ("router", {"use": 3}, "has use: 3"),
        ("router", {"use": ""}, "has use: ''"),
        ("regularizers", "balance", "tuple, not 'balance'"),
        ("regularizers", [3], "is 3; write a part's name"),
        ("name", "../elsewhere", "letters, digits"),
        ("name", 3, "should be a valid string, not 3"),
        ("seed", True, "should be a valid integer, not True"),
        ("seed", 2**63, "less than"),
        ("train", [1], "not [1]"),
        ("requires", "x>1", "tuple, not 'x>1'"),
    ],
)
def test_a_wrong_type_says_what_was_found(key: str, value: object, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_with(**{key: value}))

    (found,) = caught.value.problems
    assert found.startswith(key)
    assert reason in found


def test_what_is_required_is_told_key_by_key(write: Write) -> None:
    assert problems(write("seed: 3")) == [
        f"r.yaml:1:1: {key}: is required"
        for key in ("name", "backbone", "placement", "experts", "tasks")
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n...\n# x"])
def test_an_empty_file_is_told(write: Write, text: str) -> None:
    (found,) = problems(write(text))

    assert found.startswith("r.yaml")
    assert "is empty" in found or "mapping" in found


@pytest.mark.parametrize(("text", "noun"), [("- a", "a list"), ("just text", "'just text'")])
def test_a_file_that_is_no_mapping_is_told(write: Write, text: str, noun: str) -> None:
    assert problems(write(text)) == [
        f"r.yaml:1:1: a recipe is a mapping of keys to values, not {noun}"
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\x01\x02\x00\x00", "is a binary file"),
        (b"name: \xff\xfe", "is not UTF-8 text (byte 6)"),
        ("name: x".encode("utf-16"), "is not UTF-8 text (byte 0)"),
        (b"#" * ((1 << 20) + 1), "is larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_told(write: Write, data: bytes, reason: str) -> None:
    path = write()
    path.write_bytes(data)

    (found,) = problems(path)

    assert found.startswith(f"r.yaml: {reason}")


def test_a_byte_order_mark_is_no_problem(write: Write) -> None:
    assert load_recipe(write("\ufeff" + WHOLE)).name == "toy"


def test_a_folder_is_told_with_a_recipe_in_it(write: Write) -> None:
    write(name="sub/r.yaml")

    assert problems("sub") == ["sub: is a folder; name a recipe's file, such as r.yaml"]


def test_a_missing_file_is_told_with_the_nearest_name(write: Write) -> None:
    write(name="quick.yaml")

    assert problems("quik.yaml") == ["quik.yaml: no such file; did you mean 'quick.yaml'?"]
    assert problems("zzz.yaml") == ["zzz.yaml: no such file"]
    assert problems("far/r.yaml") == ["far/r.yaml: no such file; nor is there a folder 'far'"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_told(write: Write) -> None:
    path = write()
    path.chmod(0)

    assert "cannot be read: Permission denied" in problems(path)[0]


def test_extending_merges_mappings_and_replaces_lists(write: Write) -> None:
    write(name="base.yaml")
    recipe = load_recipe(
        write("extends: base.yaml\nseed: 5\nexperts: {rank: 9}\nregularizers: [even]")
    )

    assert recipe.seed == 5
    assert recipe.experts.options == {"count": 3, "rank": 9}
    assert [spec.use for spec in recipe.regularizers] == ["even"]


def test_of_several_recipes_extended_the_later_wins(write: Write) -> None:
    write(name="one.yaml")
    write("seed: 1\nrequires: [a]", name="two.yaml")
    write("seed: 2", name="three.yaml")

    recipe = load_recipe(write("extends: [one.yaml, two.yaml, three.yaml]"))

    assert (recipe.seed, recipe.requires, recipe.name) == (2, ("a",), "toy")


def test_null_takes_away_what_was_extended(write: Write) -> None:
    write(WHOLE + "train: {batch_size: 64, clip: 3}", name="base.yaml")

    recipe = load_recipe(
        write(
            "extends: base.yaml\nrouter: null\nregularizers: null\n"
            "train: {batch_size: null, clip: null}"
        )
    )

    assert recipe.router is None
    assert recipe.regularizers == ()
    assert recipe.train.batch_size == 32
    assert recipe.train.clip is None  # null is a value of clip


def test_a_part_that_is_required_cannot_be_taken_away(write: Write) -> None:
    write(name="base.yaml")

    assert problems(write("extends: base.yaml\ntasks: null")) == ["r.yaml:2:1: tasks: is required"]


def test_paths_are_relative_to_the_file_they_are_in(write: Write) -> None:
    write(WHOLE.replace("tasks: data", "tasks: {use: data, root: texts}"), name="sub/base.yaml")
    write("extends: base.yaml", name="sub/middle.yaml")

    recipe = load_recipe(write("extends: sub/middle.yaml"), ["backbone.model=here"])

    root, model = recipe.tasks.options["root"], recipe.backbone.options["model"]
    assert isinstance(root, RecipeText)
    assert isinstance(model, RecipeText)
    assert root.folder == Path("sub").absolute()
    assert model.folder == Path.cwd()


def test_a_problem_in_what_is_extended_names_that_file(write: Write) -> None:
    write("sed: 3\n" + WHOLE, name="sub/base.yaml")

    assert problems(write("extends: sub/base.yaml\nseed: x")) == [
        "r.yaml:2:1: seed: should be a valid integer, not 'x'",
        "sub/base.yaml:1:1: sed: no such key; did you mean 'seed'?",
    ]


def test_problems_of_every_file_and_override_are_told_together(write: Write) -> None:
    write("a: 1\na: 2", name="one.yaml")

    found = problems(write("extends: [one.yaml, gone.yaml, 3]"), "nonsense", "a='")
    assert [line.split(": ")[0] for line in found] == [
        "one.yaml:2:1",
        "r.yaml:1:21",
        "r.yaml:1:32",
        "--set nonsense",
        "--set a='",
    ]


def test_a_cycle_is_told_with_its_chain(write: Write) -> None:
    write("extends: r.yaml", name="two.yaml")

    assert problems(write("extends: two.yaml")) == [
        "two.yaml:1:1: extends: goes round in a circle: r.yaml → two.yaml → r.yaml"
    ]


def test_a_recipe_cannot_extend_itself(write: Write) -> None:
    assert problems(write("extends: r.yaml")) == [
        "r.yaml:1:1: extends: goes round in a circle: r.yaml → r.yaml"
    ]


def test_a_recipe_extended_by_many_is_read_once(write: Write) -> None:
    write(name="f0.yaml")
    for i in range(1, 40):  # read anew each time, these would be 2 ** 39 reads
        write(f"extends: [f{i - 1}.yaml, f{i - 1}.yaml]", name=f"f{i}.yaml")

    assert load_recipe("f39.yaml").name == "toy"


def test_an_unknown_bundled_recipe_is_told_with_those_there_are(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path, monkeypatch, "bundling", "shared-recipe")

    (near,) = problems(write("extends: shared-recip"))
    (far,) = problems("zzzzzz")
    assert near == (
        "r.yaml:1:1: extends: no recipe 'shared-recip' is bundled; did you mean 'shared-recipe'?"
    )
    assert far.startswith("no recipe 'zzzzzz' is bundled; bundled recipes: ")
    assert "shared-recipe" in far


def bundle(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, recipe: str) -> Path:
    """Install a package whose import fails, with a recipe in it."""
    site = folder / "site"
    recipes = site / package / "recipes"
    info = site / f"{package}-1.0.dist-info"
    recipes.mkdir(parents=True)
    info.mkdir()
    (site / package / "__init__.py").write_text("raise RuntimeError('imported')")
    (recipes / f"{recipe}.yaml").write_text(WHOLE)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mtlora]\n{package} = {package}\n")
    monkeypatch.syspath_prepend(str(site))
    assert version(package) == "1.0"
    return recipes / f"{recipe}.yaml"


def test_a_bundled_recipe_is_found_by_name_without_importing_its_plugin(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path, monkeypatch, "bundling", "shared-recipe")

    assert load_recipe("shared-recipe").name == "toy"
    assert load_recipe(write("extends: shared-recipe\nname: mine")).name == "mine"
    assert "bundling" not in sys.modules


def test_a_file_goes_before_a_bundled_recipe_on_the_command_line(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path, monkeypatch, "bundling", "both")
    write(WHOLE.replace("name: toy", "name: local"), name="both")

    assert load_recipe("both").name == "local"


def test_two_bundled_recipes_of_one_name_are_told_with_their_paths(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bundle(tmp_path / "a", monkeypatch, "bundling", "both")
    second = bundle(tmp_path / "b", monkeypatch, "bundling2", "both")

    (found,) = problems(write("extends: both"))

    assert "bundled twice" in found
    assert str(first) in found
    assert str(second) in found


def test_a_mapping_from_python_nests_no_deeper_than_a_file() -> None:
    endless: dict[str, object] = {}
    endless["again"] = endless

    with pytest.raises(RecipeError, match="32 levels"):
        load_recipe({"name": endless})


def test_a_mapping_from_python_has_keys_of_text() -> None:
    with pytest.raises(RecipeError, match="must be text, not 3"):
        load_recipe({"train": {3: 4}})


def test_the_recipe_s_own_parts_can_be_given_in_python() -> None:
    recipe = Recipe.model_validate(recipe_with())

    assert recipe == load_recipe(recipe_with())
