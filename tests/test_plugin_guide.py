"""The packages that docs/plugins.md writes work as they stand there."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path

import pytest

from mtlora_core import interfaces, testing
from mtlora_core.execution import BuildExecutor
from mtlora_core.registry import Registry

GUIDE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text("utf-8")
FILES = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", GUIDE, re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The guide's files in a folder that Python imports from."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the contract imports a door anew
    yield tmp_path
    for name in [
        name for name in sys.modules if name.startswith(("mtlora_softmax", "mtlora_watch"))
    ]:
        del sys.modules[name]


def test_the_guide_s_tests_pass(folder: Path) -> None:
    tests = runpy.run_path(str(folder / "tests" / "test_softmax.py"))
    checks = [test for name, test in tests.items() if name.startswith("test_")]

    assert len(checks) == 2
    for check in checks:
        check()


def test_the_guide_s_entry_point_names_its_package(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]

    assert project["entry-points"]["mtlora"] == {"softmax": "mtlora_softmax"}
    assert (folder / "mtlora_softmax" / "__init__.py").is_file()


def test_the_guide_s_observer_is_one(folder: Path) -> None:
    watching = import_module("mtlora_watch")

    assert Registry({"watch": watching}).observers(["watch"]) == (watching,)


BUILDS = {
    "check_backbone": interfaces.BuildBackbone,
    "check_executor": BuildExecutor,
    "check_experts": interfaces.BuildExperts,
    "check_language_model": interfaces.BuildLanguageModel,
    "check_penalty": interfaces.BuildPenalty,
    "check_placement": interfaces.BuildPlacement,
    "check_router": interfaces.BuildRouter,
    "check_tasks": interfaces.BuildTasks,
    "check_transform": interfaces.BuildTransform,
    "check_weighting": interfaces.BuildWeighting,
}


def called_with(build: type) -> str:
    """Return what a build is called with, as the guide writes it."""
    _, *given = signature(build.__call__).parameters.values()
    plain = [each.name for each in given if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    named = [each.name for each in given if each.kind is Parameter.KEYWORD_ONLY]
    return ", ".join([*plain, "*", *named] if named else plain)


def test_the_guide_s_table_says_what_every_build_is_called_with() -> None:
    rows = re.findall(r"\| `(options[^`]*)` \| `(\w+)` \|", GUIDE)

    assert {check: given for given, check in rows} == {
        check: called_with(build) for check, build in BUILDS.items()
    }
    assert {each.__name__ for each in BUILDS.values()} >= {
        name for name in interfaces.__all__ if name.startswith("Build")
    }


def test_the_guide_names_the_check_of_every_kind() -> None:
    checks = {name for name in testing.__all__ if name.startswith("check_")} - {"check_component"}

    assert {name for name in checks if name not in GUIDE} == set()
