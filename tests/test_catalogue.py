"""The catalogue of known packages, and whether ``registry.yaml`` is true."""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mtlora_core.catalogue import Catalogue
from mtlora_core.errors import RecipeError

ROOT = Path(__file__).parents[1]
FOLDERS = sorted((ROOT / "plugins").glob("*/pyproject.toml"))

Part = tuple[str, str, str, str]


def catalogue_of(text: str, folder: Path) -> Catalogue:
    path = folder / "registry.yaml"
    path.write_text(text)
    return Catalogue.read(path)


def project(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    return found


@pytest.mark.parametrize("path", FOLDERS, ids=lambda path: path.parent.name)
def test_the_catalogue_says_of_each_package_of_ours_what_its_door_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(path.parent))
    about = project(path)
    (listed,) = [each for each in Catalogue.read().packages if each.name == about["name"]]

    offered: set[Part] = set()
    for module in about["entry-points"]["mtlora"].values():
        for part in import_module(module).mtlora_components():
            offered.add((part.kind, part.name, part.summary, part.paper))

    assert {(each.kind, each.name, each.summary, each.paper) for each in listed.parts} == offered
    assert listed.tier == "first-party"
    assert listed.summary


def test_every_first_party_package_of_the_catalogue_has_a_folder() -> None:
    assert Catalogue.read().first_party() == {project(path)["name"] for path in FOLDERS}


def test_no_package_and_no_part_of_a_package_is_listed_twice() -> None:
    packages = Catalogue.read().packages

    assert len({each.name for each in packages}) == len(packages)
    for package in packages:
        assert len({(part.kind, part.name) for part in package.parts}) == len(package.parts)


def test_the_doors_of_our_plugins_are_light() -> None:
    heavy = {"torch", "pydantic", "transformers", "datasets"}
    names = [name for path in FOLDERS for name in project(path)["entry-points"]["mtlora"].values()]
    probe = f"import sys, {', '.join(names)}; print(*{heavy!r} & set(sys.modules))"

    assert run(probe) == ""


def run(probe: str) -> str:
    import subprocess

    folders = [str(path.parent) for path in FOLDERS]
    lines = f"import sys; sys.path[:0] = {folders!r}\n{probe}"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_catalogue_offers_parts_by_kind_and_name(tmp_path: Path) -> None:
    catalogue = catalogue_of(
        "packages:\n"
        "- {name: a, tier: known, summary: s, parts: [{kind: router, name: x, summary: s}]}\n"
        "- {name: b, tier: first-party, summary: s, parts: [{kind: experts, name: x, summary: s}]}",
        tmp_path,
    )

    assert catalogue.offers("router", "x") == ["a"]
    assert catalogue.offers("router", "y") == []
    assert catalogue.nearest("experts", "xx") == "x"
    assert catalogue.nearest("experts", "quite different") is None
    assert catalogue.first_party() == {"b"}


def test_a_catalogue_out_of_form_is_told_line_by_line(tmp_path: Path) -> None:
    text = "packages:\n- name: a\n  tier: best\n  summary: s\n  parts: [{kind: rooter, name: x}]\n"

    with pytest.raises(RecipeError) as caught:
        catalogue_of(text, tmp_path)

    assert [line.split(": ")[:2] for line in caught.value.problems] == [
        ["registry.yaml:3:3", "packages.0.tier"],
        ["registry.yaml:5:12", "packages.0.parts.0.kind"],
        ["registry.yaml:5:11", "packages.0.parts.0.summary"],
    ]
