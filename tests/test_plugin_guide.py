"""The packages that docs/plugins.md writes work as they stand there."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from mtlora_core import testing
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


def test_the_guide_names_the_check_of_every_kind() -> None:
    checks = {name for name in testing.__all__ if name.startswith("check_")} - {"check_component"}

    assert {name for name in checks if name not in GUIDE} == set()
