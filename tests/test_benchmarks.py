"""Every benchmark runs, at a toy's size, and prints lines of the form that is promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SHARED = {"measuring", "sessions", "table"}
"""Modules that are no benchmarks: what these share, and a table of runs."""

BATCH = ("--examples", "4", "--tokens", "8")
COMMANDS = {
    "hydra_block": ("--widths", "8", "--tokens", "32", "--experts", "4", "--rank", "2"),
    "plain_lora": BATCH,
    "spectral_aware": (*BATCH, "--before", "1"),
    "gradient_surgery": (
        *BATCH,
        *("--methods", "hydra", "--tasks", "2", "--counts", "unequal", "--separate", "--torchjd"),
    ),
    "growth": (*BATCH, "--of", "experts", "task-weights", "--sizes", "4", "8"),
}
OPPONENTS = {
    "hydra_block": {"a loop, A once", "a loop, A inside"},
    "plain_lora": {"PEFT in a plain loop", "heads on the frozen model"},
    "spectral_aware": {"no such penalty"},
    "gradient_surgery": {"joint training", "a backward pass a task", "TorchJD's mtl_backward"},
    "growth": {"4 experts", "4 task-weights"},
}


def lines_of(benchmark: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a benchmark prints in two rounds."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{benchmark}.py", "--rounds", "2", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_benchmark_is_tried() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} - SHARED == set(COMMANDS)


def test_make_bench_runs_every_benchmark() -> None:
    makefile = (BENCHMARKS.parent / "Makefile").read_text("utf-8")

    assert [name for name in COMMANDS if f"$(BENCH)/{name}.py" not in makefile] == []


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", COMMANDS)
def test_prints_a_line_for_every_opponent(benchmark: str) -> None:
    if benchmark == "plain_lora" and not find_spec("peft"):
        pytest.skip("PEFT is not installed")

    lines = lines_of(benchmark, COMMANDS[benchmark])

    assert {line["opponent"] for line in lines} == OPPONENTS[benchmark]
    for line in lines:
        assert list(line) == ["name", "ratio", "low", "high", "opponent", "shape"]
        assert 0 < line["low"] <= line["ratio"] <= line["high"]
