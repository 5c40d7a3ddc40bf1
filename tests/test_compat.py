"""torchvision beside a torch that its compiled operators do not fit."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REGISTERS = """
import torch

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets.new_empty(0, dtype=torch.long)
"""
"""What torchvision does at its import; torch refuses where the operator does not exist."""

OPERATORS_FIT = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
"""What loading torchvision's compiled operators does where they fit."""

NOISE = "import warnings; warnings.warn('Failed to load image Python extension')\n"


def run(program: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter with warnings as errors and ``path`` to import from."""
    lines = [f"import sys; sys.path.insert(0, {str(path)!r})"] if path else []
    lines += ["from mtlora_core.compat import mend_torchvision", program]
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True
    )


def fake(folder: Path, source: str) -> Path:
    """Write a package ``torchvision`` into ``folder``."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(source)
    return folder


def test_the_fake_fails_as_the_real_one_does(tmp_path: Path) -> None:
    done = run("import torchvision", fake(tmp_path, REGISTERS))

    assert "operator torchvision::nms does not exist" in done.stderr


def test_torchvision_without_its_operators_loads_once_mended_or_twice(tmp_path: Path) -> None:
    mend = "mend_torchvision()\n"
    program = f"{mend}{mend}import torchvision, torch\nprint(torch.ops.torchvision.qnms)"

    done = run(program, fake(tmp_path, NOISE + REGISTERS))

    assert (done.stdout, done.stderr) == ("torchvision.qnms\n", "")


def test_torchvision_that_loads_keeps_its_own_operators(tmp_path: Path) -> None:
    program = (
        "mend_torchvision()\nimport torchvision, torch\n"
        "print(hasattr(torch.ops.torchvision, 'qnms'))"
    )

    done = run(program, fake(tmp_path, OPERATORS_FIT + REGISTERS))

    # Only what it declared itself: declaring nms again would have been an error.
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_without_torchvision_not_even_torch_is_imported() -> None:
    program = (
        "sys.modules['torchvision'] = None\nmend_torchvision()\nsys.exit('torch' in sys.modules)"
    )

    assert run(f"import sys\n{program}").returncode == 0


def test_another_failure_of_torchvision_is_left_to_whoever_needs_it(tmp_path: Path) -> None:
    folder = fake(tmp_path, "raise OSError('libpng is missing')")

    assert run("mend_torchvision()", folder).stderr == ""
    assert "libpng is missing" in run("mend_torchvision()\nimport torchvision", folder).stderr


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_installed_torchvision_loads() -> None:
    done = run("mend_torchvision()\nimport torchvision\nprint(torchvision.__name__)")

    assert done.stdout == "torchvision\n", done.stderr
