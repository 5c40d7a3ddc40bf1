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


def seconds(*command: str) -> float:
    """Return the processor time of a command, which has to succeed.

    Starting is all computing, so on an idle machine this is the time that a person waits; on a
    busy one it leaves out the waiting for other processes.
    """
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Compiled modules are kept, as for a person; what runs tests may say otherwise.
    keeping = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, capture_output=True, env=keeping)
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.ru_utime + done.ru_stime - begun.ru_utime - begun.ru_stime


@pytest.mark.parametrize(("arguments", "bound"), [(["--help"], 0.35), (["check", RECIPE], 0.6)])
def test_the_command_starts_fast(arguments: list[str], bound: float) -> None:
    best = min(seconds(str(MTLORA), *arguments) for _ in range(5))
    for _ in range(20):  # noise only ever adds: a busy machine takes more tries to show the time
        if best <= bound:
            break
        best = min(best, seconds(str(MTLORA), *arguments))

    assert best <= bound


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
