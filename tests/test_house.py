"""The rules of the house that no tool knows: what may import what, and what a plugin has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "mtlora_core"
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
PACKAGES = {plugin: plugin.name.replace("-", "_") for plugin in PLUGINS}

VOCABULARY = {
    "block",  # a kind of site
    "component",  # a module of the core
    "files",  # what a lock holds hashes of
    "task",  # a unit of routing
    "timm",  # a library whose version a lock holds
    "token",  # a unit of routing
    "transformers",  # a library whose version a lock holds
    "uniform",  # a way of sampling
}
"""Words that the core uses for data of its own, though a first-party part has the same name."""

each_plugin = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)


def layers() -> tuple[dict[str, int], set[str]]:
    """Return each module's row, and which import torch: the table that contributors read."""
    rows, heavy = {}, set()
    for line in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines():
        if row := re.match(r"\| (\d+) \| (.+?) \|", line):
            for name, star in re.findall(r"`(\w+)`(\*?)", row[2]):
                rows[name] = int(row[1])
                heavy |= {name} if star else set()
    return rows, heavy


ROWS, HEAVY = layers()


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def module_name(path: Path, base: Path = ROOT) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def core_module(path: Path) -> str:
    """Return the name that the table has for a file: its module or its subpackage."""
    return path.relative_to(CORE).with_suffix("").parts[0]


class Imports(ast.NodeVisitor):
    """Collects what a file imports when it runs, anywhere in it; types are for the checker."""

    def __init__(self, package: str) -> None:
        self.package = package.split(".")
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        """Leave out what only the type checker reads."""
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """Note the modules."""
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note the names, each of which may be a module."""
        base = self.package[: len(self.package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        self.found |= {f"{module}.{alias.name}" for alias in node.names}


def imports(path: Path, base: Path = ROOT) -> set[str]:
    name = module_name(path, base)
    visitor = Imports(name if path.name == "__init__.py" else name.rpartition(".")[0])
    visitor.visit(ast.parse(path.read_text("utf-8")))
    return visitor.found


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the strings of a file that are data: docstrings, which are statements, are not."""
    tree = ast.parse(path.read_text("utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def python(code: str) -> str:
    """Return what ``code`` prints in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loads(modules: list[str], forbidden: set[str]) -> str:
    """Import modules one after the other; return the first after which a forbidden one is there."""
    return python(
        f"import importlib, sys\nfor name in {modules!r}:\n    importlib.import_module(name)\n"
        f"    loaded = {forbidden!r} & set(sys.modules)\n"
        "    if loaded: print(name, 'loads', *sorted(loaded)); break"
    )


# The core.


def test_every_module_of_the_core_has_a_row_and_no_other_has() -> None:
    assert {core_module(path) for path in sources(CORE)} - {"__init__"} == set(ROWS)


def test_a_module_of_the_core_imports_only_the_rows_above_its_own() -> None:
    faults = [
        f"{path.relative_to(ROOT)} (row {ROWS[own]}) imports {target} (row {ROWS[other]})"
        for path in sources(CORE)
        if (own := core_module(path)) != "__init__"
        for target in sorted(imports(path))
        if target.startswith("mtlora_core.")
        and (other := target.split(".")[1]) in ROWS
        and other != own
        and ROWS[other] >= ROWS[own]
    ]

    assert faults == []


def test_modules_without_a_star_load_no_torch() -> None:
    light = [
        module_name(path) for path in sources(CORE) if core_module(path) not in {*HEAVY, "__init__"}
    ]

    assert "mtlora_core.cli" in light
    assert loads(light, {"torch"}) == ""


def test_the_package_itself_loads_neither_torch_nor_pydantic() -> None:
    assert loads(["mtlora_core", "mtlora_core.component"], {"torch", "pydantic"}) == ""


def test_the_core_names_no_plugin_and_no_part() -> None:
    parts = python(
        "from importlib import import_module\n"
        f"for door in {sorted(PACKAGES.values())!r}:\n"
        "    for each in import_module(door).mtlora_components(): print(each.name)"
    ).split()
    names = {*PACKAGES.values(), *(plugin.name for plugin in PLUGINS), *parts} - VOCABULARY
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in sources(CORE)
        for line, text in strings(path)
        if text.partition(":")[0].partition("/")[0].partition(".")[0] in names
    ]

    assert "fine-grained" in names
    assert faults == []


def test_the_core_imports_no_plugin() -> None:
    own = {*PACKAGES.values()}

    assert [p for p in sources(CORE) for name in imports(p) if name.split(".")[0] in own] == []


# Plugins.


@each_plugin
def test_a_plugin_imports_only_public_names_of_the_core_and_of_itself(plugin: Path) -> None:
    faults = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(plugin)
        for name in sorted(imports(path, plugin))
        if (
            name.startswith("mtlora_")
            and name.split(".")[0] not in {"mtlora_core", PACKAGES[plugin]}
        )
        or (name.startswith("mtlora_core") and any(part[0] == "_" for part in name.split(".")))
    ]

    assert faults == []


@each_plugin
def test_a_plugin_is_a_distribution_of_its_own(plugin: Path) -> None:
    about = tomllib.loads((plugin / "pyproject.toml").read_text("utf-8"))["project"]

    assert about["name"] == plugin.name
    assert about["license"] == "Apache-2.0"
    assert list(about["entry-points"]["mtlora"].values()) == [PACKAGES[plugin]]
    assert any(re.match(r"mtlora\b(?!-)", needed) for needed in about["dependencies"])
    assert (plugin / PACKAGES[plugin] / "py.typed").is_file()
    assert f"# {plugin.name}" in (plugin / "README.md").read_text("utf-8")
    assert list((plugin / "tests").glob("test_*.py"))
    assert not (plugin / "tests" / "__init__.py").exists()


def test_doors_load_neither_torch_nor_pydantic() -> None:
    assert loads(sorted(PACKAGES.values()), {"torch", "pydantic"}) == ""


def test_options_and_placements_load_no_torch() -> None:
    light = python(
        "from importlib import import_module\n"
        f"for door in {sorted(PACKAGES.values())!r}:\n"
        "    for each in import_module(door).mtlora_components():\n"
        "        print(each.options.split(':')[0])\n"
        "        if each.kind == 'placement': print(each.build.split(':')[0])"
    ).split()

    assert light
    assert loads(light, {"torch"}) == ""


# Everywhere.


def test_every_module_says_what_it_is() -> None:
    packages = [CORE, *(plugin / package for plugin, package in PACKAGES.items())]

    assert [p for each in packages for p in sources(each) if not documented(p)] == []


def documented(path: Path) -> bool:
    return bool(ast.get_docstring(ast.parse(path.read_text("utf-8"))))


def test_test_files_have_names_of_their_own() -> None:
    names = Counter(p.name for f in ("tests", "plugins") for p in (ROOT / f).rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []
