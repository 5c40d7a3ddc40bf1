"""``mtlora check`` and ``mtlora schema``: a recipe without a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_command import events, mtlora, written
from toys import toy_registry

from mtlora_core.registry import Registry


@pytest.fixture(autouse=True)
def external(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Work in an empty folder with the toys; return what was asked of external plugins."""
    asked = []

    def discover(*, external: bool = True) -> Registry:
        asked.append(external)
        return toy_registry()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Registry, "discover", discover)
    return asked


def test_shows_parts_with_packages_and_sites_with_widths(tmp_path: Path) -> None:
    done = mtlora("check", written(tmp_path))

    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "router fine-grained routers 0+unpackaged" in lines
    assert "regularizers.1 balance regularizers 0+unpackaged" in lines
    assert "sites 2 blocks, 16 → 16: layer0_ffn … layer1_ffn" in lines
    assert lines[-1] == "ok"


def test_says_every_problem_in_a_line_of_its_own(tmp_path: Path) -> None:
    recipe = written(tmp_path, router="softmx", regularizers=["spectral-awre", "blance"])

    done = mtlora("check", recipe)

    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"mtlora: {recipe}:1:") for line in lines)


def test_a_long_problem_is_not_wrapped(tmp_path: Path) -> None:
    recipe = written(tmp_path, router={"use": "fine-grained", "x" * 200: 1})

    done = mtlora("check", recipe)

    assert len(done.stderr.splitlines()) == 1
    assert "x" * 200 in done.stderr


def test_problems_have_no_colour_where_nobody_sees_it(tmp_path: Path) -> None:
    done = mtlora("check", written(tmp_path, router="softmx"))

    assert "\x1b" not in done.stderr


def test_set_applies_before_the_check(tmp_path: Path) -> None:
    done = mtlora("check", written(tmp_path), "--set", "router.groups=3")

    assert done.exit_code == 2
    assert "groups" in done.stderr


def test_a_pair_that_is_one_lora_in_disguise_is_noted_and_passes(tmp_path: Path) -> None:
    done = mtlora("check", written(tmp_path, router="uniform"))

    assert done.exit_code == 0
    assert done.stderr.startswith("note: ")
    assert done.stdout.endswith("ok\n")


def test_json_has_notes_and_one_event_with_parts_and_sites(tmp_path: Path) -> None:
    done = mtlora("check", written(tmp_path, router="uniform"), "--json")

    *notes, checked = events(done)
    assert {note["event"] for note in notes} == {"note"}
    assert checked["event"] == "checked"
    assert [site["name"] for site in checked["sites"]] == ["layer0_ffn", "layer1_ffn"]
    assert checked["parts"][0]["options"] == {"width": 16, "layers": 2}


def test_json_has_the_problems_too(tmp_path: Path) -> None:
    done = mtlora("check", written(tmp_path, router="softmx"), "--json")

    (error,) = events(done)
    assert error["event"] == "error"
    assert error["status"] == 2
    assert "softmx" in error["problems"][0]
    assert "softmx" in done.stderr


@pytest.mark.parametrize("path", ["gone.yaml", "."])
def test_what_is_no_recipe_is_one_line(path: str) -> None:
    done = mtlora("check", path)

    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1


def test_external_plugins_can_be_left_out(tmp_path: Path, external: list[bool]) -> None:
    recipe = written(tmp_path)

    mtlora("check", recipe)
    mtlora("check", recipe, "--no-external-plugins")
    mtlora("compose", recipe, "--dry-run", "--no-external-plugins")
    mtlora("plugins", "list", "--no-external-plugins")
    mtlora("plugins", "info", "hydra", "--no-external-plugins")
    mtlora("schema", "--no-external-plugins")

    assert external == [True] + [False] * 5


def test_the_schema_has_the_options_of_installed_parts() -> None:
    done = mtlora("schema")

    assert done.exit_code == 0
    assert json.loads(done.stdout)["type"] == "object"
    for name in ("fine-grained", "spectral-aware", "groups"):
        assert name in done.stdout


def test_the_schema_goes_to_a_file_whole() -> None:
    done = mtlora("schema", "--out", "recipe.schema.json")

    assert done.stdout == ""
    assert Path("recipe.schema.json").read_text() == mtlora("schema").stdout
    assert [path.name for path in Path().iterdir()] == ["recipe.schema.json"]


def test_a_schema_that_cannot_be_written_is_an_error() -> None:
    done = mtlora("schema", "--out", "gone/recipe.schema.json")

    assert done.exit_code != 0
    assert "gone/recipe.schema.json" in done.stderr
