"""Installed plugins: found one by one, so that what is broken stays where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from parts import (
    NoOptions,
    part,
    plugin,
    registry_of,
    router,
)

from mtlora_core.catalogue import Catalogue, CataloguePackage, CataloguePart
from mtlora_core.errors import MtloraError, PluginError, RecipeError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.registry import UNPACKAGED, Registry, relay

Install = Callable[..., Path]

DOOR = """
from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl

@hookimpl
def mtlora_components():
    per = {{"per": "token"}}
    return [Component("router", {name!r}, "parts:NoOptions", "x:y", "a toy", capabilities=per)]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what installs a package of one router, and allows it alone with the others like it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    allowed: list[str] = []

    def install(
        package: str, name: str = "made", door: str = DOOR, version: str = "1.2", entry: str = ""
    ) -> Path:
        module = package.replace("-", "_")
        folder, info = tmp_path / module, tmp_path / f"{module}-{version}.dist-info"
        folder.mkdir()
        info.mkdir()
        (folder / "__init__.py").write_text(door.format(name=name))
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[mtlora]\n{entry or module} = {module}\n")
        allowed.append(package)
        monkeypatch.setenv("MTLORA_PLUGINS", ",".join(allowed))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return folder

    return install


def failure(registry: Registry, kind: str, name: str) -> MtloraError:
    with pytest.raises(MtloraError) as caught:
        registry.get(kind, name)
    return caught.value


def known(name: str, kind: Any, *parts: str, tier: Any = "known") -> CataloguePackage:
    listed = tuple(CataloguePart(kind=kind, name=each, summary="s") for each in parts)
    return CataloguePackage(name=name, tier=tier, summary="s", parts=listed)


def test_a_part_that_is_handed_over_is_found_by_kind_and_name() -> None:
    found = registry_of().get("router", "each")

    assert found.component.name == "each"
    assert (found.package, found.version, found.folder) == ("toys", UNPACKAGED, None)


def test_a_module_that_is_handed_over_knows_its_folder() -> None:
    import mtlora_core.hookspecs

    module = ModuleType("mtlora_core.toy")
    component = router("each", "token")
    module.mtlora_components = hookimpl(lambda: [component])  # type: ignore[attr-defined]

    registry = Registry({"toy": module}, catalogue=Catalogue())

    expected = Path(mtlora_core.hookspecs.__file__).parent
    assert registry.get("router", "each").folder == expected


def test_an_installed_package_is_found_with_its_version_and_folder(install: Install) -> None:
    folder = install("mtlora-made")

    found = Registry.discover().get("router", "made")

    assert (found.package, found.version, found.folder) == ("mtlora-made", "1.2", folder)
    assert found.title == "mtlora-made/made (1.2)"


def test_parts_are_listed_by_kind_and_name() -> None:
    parts = registry_of().parts()

    assert [part.component.name for part in registry_of().parts("experts")] == [
        "based",
        "many",
        "one",
    ]
    assert parts == sorted(parts, key=lambda part: (part.component.kind, part.component.name))


@pytest.mark.parametrize(
    ("door", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "implements no hook"),
        (DOOR.replace("return [", "raise ValueError('no\\nway') #"), "ValueError: no way"),
        (DOOR.replace("return [", "return 3 #"), "TypeError"),
        (DOOR.replace("return [", "return [3,"), "gave 3, which is no Component"),
        (DOOR.replace('"router"', '"rooter"'), "no such kind"),
        (DOOR.replace("parts:NoOptions", "NoOptions"), "must be an import string"),
        (DOOR.replace('"parts:NoOptions"', "Component"), "options must be an import string"),
        (DOOR.replace("{name!r}", "'a/b,c'"), "a name begins with a letter or digit"),
        (DOOR.replace('"a toy"', "None"), "summary must be a text, not None"),
        (DOOR.replace("mtlora_components", "mtlora_component"), "mtlora_component"),
        (DOOR.replace("mtlora_components()", "mtlora_components(x)"), "mtlora_components"),
    ],
)
def test_a_broken_plugin_is_kept_with_its_reason_and_stops_no_other(
    install: Install, door: str, reason: str
) -> None:
    install("mtlora-bad", door=door)
    install("mtlora-good", "good")

    registry = Registry.discover()

    assert registry.get("router", "good").package == "mtlora-good"
    assert reason in registry.broken["mtlora-bad"]
    assert "\n" not in registry.broken["mtlora-bad"]


def test_a_part_described_twice_breaks_its_plugin() -> None:
    registry = registry_of(double=plugin(router("x", "token"), router("x", "group")))

    assert registry.broken == {"double": "router 'x': described twice"}


def test_a_component_of_another_api_breaks_its_plugin() -> None:
    registry = registry_of(future=plugin(part("router", "x", NoOptions, api=2)))

    assert "api 2" in registry.broken["future"]


def test_a_broken_plugin_is_fatal_where_the_recipe_names_its_package() -> None:
    registry = registry_of(Bad_Toys=plugin(3))  # type: ignore[arg-type]

    error = failure(registry, "router", "bad-toys/x")

    assert isinstance(error, PluginError)
    assert str(error).startswith("the plugin 'Bad_Toys' is broken: ")


def test_a_broken_plugin_is_fatal_where_the_catalogue_says_it_has_the_part() -> None:
    catalogue = Catalogue(packages=(known("bad", "router", "lost"),))
    registry = Registry({"bad": plugin(3)}, catalogue=catalogue)  # type: ignore[arg-type]

    assert isinstance(failure(registry, "router", "lost"), PluginError)
    assert isinstance(failure(registry, "router", "other"), RecipeError)


def test_two_parts_of_one_name_are_an_error_only_when_the_bare_name_is_used(
    install: Install,
) -> None:
    install("mtlora-one", "twin")
    install("mtlora-two", "twin", version="3.4")

    registry = Registry.discover()

    assert registry.get("router", "mtlora-two/twin").version == "3.4"
    assert str(failure(registry, "router", "twin")) == (
        "router 'twin' is in 2 packages, mtlora-one/twin (1.2) and mtlora-two/twin (3.4); "
        "write the package too, such as mtlora-one/twin"
    )


def test_two_entry_points_of_one_name_do_not_hide_each_other(install: Install) -> None:
    install("mtlora-one", "one", entry="same")
    install("mtlora-two", "two", entry="same")

    registry = Registry.discover()

    assert {each.component.name for each in registry.parts()} == {"one", "two"}


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("eahc", "router 'eahc' is not installed; did you mean 'each'?"),
        ("many", "router 'many' is not installed; 'many' is a part of kind experts"),
        ("far/each", "router 'each' is not installed in package 'far'; it is in toys"),
        ("toys/zzz", "router 'zzz' is not installed in package 'toys'; installed: "),
        ("zzz", "installed: each, fixed, grouped, pooled, whole"),
    ],
)
def test_a_missing_part_comes_with_advice(name: str, advice: str) -> None:
    assert advice in str(failure(registry_of(), "router", name))


def test_a_missing_part_that_a_known_package_offers_says_what_to_install() -> None:
    catalogue = Catalogue(packages=(known("mtlora-smora", "router", "smora"),))
    registry = Registry({}, catalogue=catalogue)

    assert str(failure(registry, "router", "smora")) == (
        "router 'smora' is not installed; package mtlora-smora offers it: pip install mtlora-smora"
    )
    assert "did you mean 'smora' of package mtlora-smora?" in str(
        failure(registry, "router", "smroa")
    )


def test_a_plugin_that_the_allow_list_leaves_out_is_named_where_it_is_missed(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("mtlora-made")
    monkeypatch.setenv("MTLORA_PLUGINS", "")

    registry = Registry.discover()

    assert registry.parts() == []
    assert "MTLORA_PLUGINS does not list it" in str(failure(registry, "router", "mtlora-made/made"))


def test_the_allow_list_takes_entry_points_and_tells_what_is_not_installed(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("mtlora-made", entry="handle")
    monkeypatch.setenv("MTLORA_PLUGINS", "Handle, mtlora_absent")

    registry = Registry.discover()

    assert [each.package for each in registry.parts()] == ["mtlora-made"]
    assert "not installed" in registry.broken["mtlora-absent"]


def test_without_external_plugins_only_first_party_ones_are_loaded(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("mtlora-made", door="raise RuntimeError('loaded')")
    monkeypatch.delenv("MTLORA_PLUGINS")

    registry = Registry.discover(external=False)

    assert "mtlora-made" not in registry.broken
    assert "switched off" in registry.left_out["mtlora-made"]
    assert {each.package for each in registry.parts()} <= Catalogue.read().first_party()


def test_a_plugin_that_is_handed_over_stands_beside_those_installed(install: Install) -> None:
    install("mtlora-made")
    mine = plugin(router("mine", "token"))

    registry = Registry.discover({"mine": mine})

    assert {part.component.name for part in registry.parts()} == {"made", "mine"}


class Listener:
    """Observes steps, and offers no part."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @hookimpl
    def mtlora_step(self, record: Any) -> None:
        self.heard.append(record)


def test_only_observers_that_are_named_are_called_with_what_they_take() -> None:
    named, silent = Listener(), Listener()
    registry = registry_of(named=named, silent=silent)

    observers = registry.observers(["named", "named"])
    relay(observers).mtlora_step(folder=Path(), record={"loss": 1})

    assert observers == (named,)
    assert named.heard == [{"loss": 1}]
    assert silent.heard == []


def test_every_name_that_observes_nothing_is_told() -> None:
    registry = registry_of(listener=Listener())

    with pytest.raises(RecipeError) as caught:
        registry.observers(["listner", "toys"])

    assert caught.value.problems == (
        "no plugin 'listner' observes runs; did you mean 'listener'?",
        "no plugin 'toys' observes runs; installed observers: listener",
    )


def test_a_plugin_that_only_observes_is_an_installed_package() -> None:
    listener = Listener()

    registry = registry_of(listener=listener)

    assert registry.packages() == {"toys": UNPACKAGED, "listener": UNPACKAGED}
    (observer,) = registry.observing()
    assert (observer.plugin.name, observer.loaded) == ("listener", listener)
    assert registry_of().observing() == []


def test_an_observer_that_is_broken_is_fatal() -> None:
    with pytest.raises(PluginError, match="'bad' is broken"):
        registry_of(bad=plugin(3)).observers(["bad"])  # type: ignore[arg-type]


PACKAGE = """
from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl

@hookimpl
def mtlora_components():
    return [
        Component(
            "router", f"part-{number}-{{i}}", f"bulk{number}.options:Options{{i}}",
            f"bulk{number}.router:Router{{i}}", "one of very many", "arXiv:0000.00000",
            {{"per": "token", "causal": True}},
        )
        for i in range(10)
    ]
"""


@pytest.mark.slow
def test_a_hundred_packages_of_ten_parts_are_listed_within_a_second(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for number in range(100):
        folder, info = site / f"bulk{number}", site / f"bulk{number}-1.0.dist-info"
        folder.mkdir(parents=True)
        info.mkdir()
        (folder / "__init__.py").write_text(PACKAGE.format(number=number))
        (folder / "options.py").write_text("raise RuntimeError('no listing needs options')")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: bulk{number}\nVersion: 1.0\n\n{'A long page.' * 500}"
        )
        (info / "entry_points.txt").write_text(f"[mtlora]\nbulk{number} = bulk{number}\n")
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": str(site),
        "PYTHONPYCACHEPREFIX": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", "from mtlora_core.cli import main; main()", "plugins", "list"]

    def listing() -> tuple[float, str]:
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return time.perf_counter() - start, done.stdout

    rounds = [listing() for _ in range(6)]

    assert rounds[0][1].count("part-") >= 1000
    assert min(seconds for seconds, _ in rounds) <= 1.0


def test_looking_parts_up_imports_neither_torch_nor_pydantic_nor_yaml(tmp_path: Path) -> None:
    probe = (
        "import sys, json\n"
        "from mtlora_core.registry import Registry\n"
        "Registry.discover().parts()\n"
        "heavy = {'torch', 'pydantic', 'ruamel.yaml', 'transformers', 'datasets', 'numpy'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)

    assert json.loads(done.stdout) == []
