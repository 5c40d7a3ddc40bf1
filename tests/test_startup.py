"""How fast the command starts: the one thing whose time is tested, by the bounds of the design."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MTLORA = Path(sys.executable).with_name("mtlora")
RECIPE = str(ROOT / "examples" / "quickstart.yaml")


PLUGIN = """
from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components():
    return [
        Component(
            kind="experts",
            name=f"{__name__}-{number}",
            options=f"{__name__}.options:Options{number}",
            build=f"{__name__}.experts:build{number}",
            summary="LoRA in yet another form",
        )
        for number in range(10)
    ]
"""

OPTIONS = """
class Options{number}(Options):
    rank: int = Field(16, ge=1, description="Rank of every expert.")
    alpha: float = Field(32.0, gt=0, description="The scale times the rank.")
    form: Literal["a", "b"] = Field("a", description="Which of the two forms.")
"""


def install_plugin(site: Path, name: str) -> None:
    """Write a package of ten parts, with options of their own, as an installer leaves it."""
    package, about = site / name, site / f"{name}-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[mtlora]\n{name} = {name}\n")
    (package / "__init__.py").write_text(PLUGIN)
    imports = (
        "from typing import Literal\nfrom pydantic import Field\n"
        "from mtlora_core.options import Options\n"
    )
    options = (OPTIONS.format(number=number) for number in range(10))
    (package / "options.py").write_text(imports + "".join(options))


def seconds(*command: str, **environment: str) -> float:
    """Return the processor time of a command, which has to succeed.

    Starting is all computing, so on an idle machine this is the time that a person waits; on a
    busy one it leaves out the waiting for other processes.
    """
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Compiled modules are kept, as for a person; what runs tests may say otherwise.
    keeping = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment}
    subprocess.run(command, check=True, capture_output=True, env=keeping)
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.ru_utime + done.ru_stime - begun.ru_utime - begun.ru_stime


def assert_starts_within(bound: float, *arguments: str, **environment: str) -> None:
    best = min(seconds(str(MTLORA), *arguments, **environment) for _ in range(5))
    for _ in range(20):  # noise only ever adds: a busy machine takes more tries to show the time
        if best <= bound:
            break
        best = min(best, seconds(str(MTLORA), *arguments, **environment))

    assert best <= bound


@pytest.mark.parametrize(("arguments", "bound"), [(["--help"], 0.35), (["check", RECIPE], 0.6)])
def test_the_command_starts_fast(arguments: list[str], bound: float) -> None:
    assert_starts_within(bound, *arguments)


def test_a_thousand_parts_of_a_hundred_packages_are_listed_fast(tmp_path: Path) -> None:
    names = [f"adaptation{number:02}" for number in range(100)]
    for name in names:
        install_plugin(tmp_path, name)
    command = [str(MTLORA), "plugins", "list"]
    there = {"PYTHONPATH": str(tmp_path)}

    listed = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **there}
    ).stdout

    assert all(f"  {name}-{part} " in listed for name in names for part in range(10))
    assert_starts_within(1.0, *command[1:], **there)


@pytest.mark.parametrize("arguments", [["--help"], ["check", RECIPE], ["plugins", "list"]])
def test_what_trains_nothing_does_not_import_torch(arguments: list[str]) -> None:
    probe = (
        "import sys\nfrom mtlora_core.cli import main\n"
        f"sys.argv = ['mtlora', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit as done: assert not done.code, done.code\n"
        "sys.exit('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
