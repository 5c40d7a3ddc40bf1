"""What ``--help`` says, and how light it is to say it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from cli_command import mtlora
from typer.main import get_command

from mtlora_core.cli import app


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command."""
    command = command or get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def parameters(path: tuple[str, ...]) -> list[Any]:
    command: Any = get_command(app)
    for name in path:
        command = command.commands[name]
    return list(command.params)


PATHS = [*commands()]


def test_the_commands_are_those_of_the_design() -> None:
    assert {path[0] for path in PATHS if path} == {
        "ablate",
        "compose",
        "check",
        "diff",
        "runs",
        "evaluate",
        "predict",
        "plugins",
        "schema",
        "export",
        "cite",
        "report",
        "diagnose",
    }


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_mentions_and_explains_every_option(path: tuple[str, ...]) -> None:
    done = mtlora(*path, "--help")

    assert done.exit_code == 0
    for parameter in parameters(path):
        for option in parameter.opts if parameter.param_type_name == "option" else []:
            assert option in done.stdout
        assert parameter.help


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_fits_in_eighty_columns(path: tuple[str, ...]) -> None:
    assert max(map(len, mtlora(*path, "--help").stdout.splitlines())) <= 80


def test_the_overview_says_what_each_command_does_in_a_whole_sentence() -> None:
    lines = mtlora("--help").stdout.partition("Commands:")[2].splitlines()

    told = [line for line in lines if line.startswith("  ") and line.split()[0] in str(PATHS)]
    assert len(told) == 13
    assert all(line.endswith(".") and not line.endswith("...") for line in told)


def test_the_version_is_that_of_the_distribution() -> None:
    done = mtlora("--version")

    assert (done.exit_code, done.stdout) == (0, f"mtlora {version('mtlora')}\n")


def test_a_misspelt_command_is_told_the_nearest_one() -> None:
    done = mtlora("chekc", "recipe.yaml")

    assert done.exit_code == 2
    assert "check" in done.stderr


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_imports_nothing_heavy(path: tuple[str, ...]) -> None:
    # typer itself asks pydantic what the type of an argument is; the overview has none.
    heavy = {"torch", "rich", "numpy"} | ({"pydantic"} if not path else set())
    probe = (
        "import sys\nfrom mtlora_core.cli import main\n"
        f"sys.argv = ['mtlora', *{path!r}, '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join({heavy!r} & {{*sys.modules}}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )

    assert done.stderr.strip() == ""
