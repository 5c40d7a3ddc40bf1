"""``mtlora plugins``: what is installed, what is broken, what there is besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_command import mtlora
from parts import GroupOptions, ManyOptions, experts, part, plugin, router

from mtlora_core.catalogue import Catalogue
from mtlora_core.hookspecs import hookimpl
from mtlora_core.registry import Registry

LONG = "a summary that goes on and on, " * 5


class Watch:
    """A plugin that observes and has no parts."""

    @hookimpl
    def mtlora_step(self, record: Any) -> None: ...

    @hookimpl
    def mtlora_run_finished(self, folder: Path) -> None: ...


def registry() -> Registry:
    """Return four packages, of which one is broken, and a catalogue that knows one more."""
    known = {"kind": "router", "name": "smora", "summary": "rank-wise", "paper": "arXiv:1"}
    packages = [
        {"name": "mtlora-far", "tier": "known", "summary": "far away", "parts": [known]},
        {"name": "mtlora-mine", "tier": "known", "summary": "mine", "parts": []},
        {"name": "mtlora-watch", "tier": "known", "summary": "watches", "parts": []},
    ]
    mine = plugin(
        router("grouped", "group", GroupOptions, needs_task=False),
        experts("many", ManyOptions, "token", "group"),
    )
    yours = plugin(router("grouped", "token", ManyOptions), part("tasks", "x" * 40, ManyOptions))
    return Registry(
        {
            "mtlora-mine": mine,
            "yours": yours,
            "mtlora-broken": object(),
            "mtlora-watch": Watch(),
        },
        catalogue=Catalogue.model_validate({"packages": packages}),
    )


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "discover", lambda *, external=True: registry())


def section(title: str) -> list[str]:
    """Return the lines below a heading of the list."""
    _, _, rest = mtlora("plugins", "list").stdout.partition(f"{title}\n")
    return rest.partition("\n\n")[0].splitlines()


def test_lists_parts_by_kind_and_package_with_version_and_summary() -> None:
    assert section("experts (mtlora-mine 0+unpackaged)") == ["  many  a toy experts"]


def test_lists_a_broken_plugin_with_its_reason_and_goes_on() -> None:
    (line,) = section("broken")

    assert line.split() == ["mtlora-broken", "it", "implements", "no", "hook", "of", "mtlora"]


def test_lists_known_packages_that_are_not_installed_and_no_others() -> None:
    (line,) = section("known, not installed")

    assert line == "  mtlora-far  far away: router smora; pip install mtlora-far"


def test_lists_observers_with_what_they_hear_of() -> None:
    (line,) = section("observers")

    assert line == "  mtlora-watch  mtlora-watch 0+unpackaged: hears of step, run_finished"


def test_info_of_an_observer_says_how_a_recipe_names_it() -> None:
    done = mtlora("plugins", "info", "mtlora-watch")

    assert done.stdout.splitlines()[:3] == [
        "observer mtlora-watch (mtlora-watch 0+unpackaged)",
        "  hooks: mtlora_step mtlora_run_finished",
        "  in a recipe: observe: [mtlora-watch]",
    ]


def test_plugins_alone_lists_too() -> None:
    assert mtlora("plugins").stdout == mtlora("plugins", "list").stdout


def test_long_names_and_summaries_fit_in_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = plugin(part("tasks", "x" * 40, ManyOptions), part("tasks", "short", ManyOptions))
    object.__setattr__(wide.mtlora_components()[1], "summary", LONG)  # type: ignore[attr-defined]
    monkeypatch.setattr(Registry, "discover", lambda *, external=True: Registry({"w": wide}))

    lines = section("tasks (w 0+unpackaged)")

    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).count(LONG.strip()) == 1


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("many", ["experts many (mtlora-mine 0+unpackaged)"]),
        (
            "grouped",
            ["router grouped (mtlora-mine 0+unpackaged)", "router grouped (yours 0+unpackaged)"],
        ),
        ("yours/grouped", ["router grouped (yours 0+unpackaged)"]),
        ("experts/many", ["experts many (mtlora-mine 0+unpackaged)"]),
        (
            "mtlora-mine",
            [
                "experts many (mtlora-mine 0+unpackaged)",
                "router grouped (mtlora-mine 0+unpackaged)",
            ],
        ),
    ],
)
def test_info_shows_every_part_of_a_name(name: str, titles: list[str]) -> None:
    done = mtlora("plugins", "info", name)

    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if line[:1].strip()] == titles


def test_info_shows_capabilities_and_options_with_type_default_and_help() -> None:
    lines = mtlora("plugins", "info", "many").stdout.splitlines()

    assert "  capabilities: mixes token group" in lines
    assert "    count: int = 4" in lines
    assert lines[lines.index("    count: int = 4") + 1] == " " * 8 + "How many."


def test_info_shows_the_paper_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    own = plugin(part("tasks", "cited", ManyOptions, paper="arXiv:2603.01526"))
    monkeypatch.setattr(Registry, "discover", lambda *, external=True: Registry({"own": own}))

    assert "paper: arXiv:2603.01526" in mtlora("plugins", "info", "cited").stdout


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mnay", "did you mean 'many'?"),
        ("mtlora-wach", "did you mean 'mtlora-watch'?"),
        ("zzzzzz", "mtlora plugins list"),
        ("smora", "pip install mtlora-far"),
        ("mtlora-far", "pip install mtlora-far"),
        ("mtlora-broken", "it implements no hook"),
        ("mtlora-broken/lora", "it implements no hook"),
    ],
)
def test_info_of_what_is_not_there_says_what_would_be_right(name: str, reason: str) -> None:
    done = mtlora("plugins", "info", name)

    assert done.exit_code == 2
    assert done.stdout == ""
    assert reason in done.stderr


@pytest.mark.parametrize("options", ["gone.away:Options", f"{__name__}:Watch"])
def test_info_of_a_part_whose_options_cannot_be_loaded_is_one_line(
    options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = plugin(part("tasks", "lost", ManyOptions))
    component = lost.mtlora_components()[0]  # type: ignore[attr-defined]
    object.__setattr__(component, "options", options)
    monkeypatch.setattr(Registry, "discover", lambda *, external=True: Registry({"l": lost}))

    done = mtlora("plugins", "info", "lost")

    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert options in done.stderr
