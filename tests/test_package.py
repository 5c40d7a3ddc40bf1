"""The package's public names."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import mtlora_core


def test_a_verb_stays_a_function_when_the_module_of_its_name_is_imported() -> None:
    module = import_module("mtlora_core.resolve")

    assert isinstance(module, ModuleType)
    assert mtlora_core.resolve is module.resolve
    assert callable(mtlora_core.resolve)


def test_modules_without_a_namesake_are_attributes_as_usual() -> None:
    import mtlora_core.catalogue

    assert isinstance(mtlora_core.catalogue, ModuleType)


def test_names_that_are_not_exported_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mtlora_core.nothing  # noqa: B018  # the access is the act


def test_the_door_side_of_the_package_imports_neither_pydantic_nor_torch() -> None:
    probe = (
        "import sys\n"
        "from mtlora_core.component import Component\n"
        "from mtlora_core.hookspecs import hookimpl\n"
        "sys.exit(bool({'pydantic', 'torch', 'ruamel.yaml'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0
