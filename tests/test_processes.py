"""Runs in processes of their own: killed without warning, and several at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlora_core.tensors import read

SCRIPT = Path(__file__).with_name("toy_run.py")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def finish(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, str(SCRIPT), str(folder), *words], check=True)


def kill_after(folder: Path, step: int) -> None:
    """Start a run and send SIGKILL when it says that it has taken ``step``."""
    command = [sys.executable, str(SCRIPT), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == f"step {step}":
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.close()
    assert process.returncode == -signal.SIGKILL


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return read(folder / "adapter.safetensors")[0]


def test_a_run_killed_twice_and_resumed_equals_an_unbroken_one(tmp_path: Path) -> None:
    finish(tmp_path / "whole")
    kill_after(tmp_path / "broken", 23)
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path / "broken"), "resume"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [next(process.stdout).strip() for _ in range(12)]
        process.kill()
        process.stdout.close()
    finish(tmp_path / "broken", "resume")

    steps = [int(line.split()[1]) for line in lines if line.startswith("step ")]
    assert 20 < steps[0] <= 24, "it went on from the last checkpoint, at most four steps back"
    whole, broken = adapter(tmp_path / "whole"), adapter(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def finish_with_two(folder: Path, *words: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, *launcher, str(SCRIPT), str(folder), *words], check=True)


@pytest.mark.parametrize("variant", ["--exact", "--surgery", "--weighing", "--remembering"])
def test_two_processes_give_the_result_of_one(tmp_path: Path, variant: str) -> None:
    finish(tmp_path / "one", variant)
    finish_with_two(tmp_path / "two", variant)

    one, two = steps_of(tmp_path / "one"), steps_of(tmp_path / "two")
    assert [record["tokens"] for record in one] == [record["tokens"] for record in two]
    for before, now in zip(one, two, strict=True):
        assert now["losses"] == pytest.approx(before["losses"], rel=1e-4)
        assert now["gradient_norm"] == pytest.approx(before["gradient_norm"], rel=1e-3)
        for kind in ("weights", "gradient_weights"):
            assert now.get(kind, {}) == pytest.approx(before.get(kind, {}), rel=1e-3)
    assert_conflicts_agree(one, two)


def assert_conflicts_agree(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> None:
    measured = [
        (a["conflicts"], b["conflicts"]) for a, b in zip(one, two, strict=True) if "conflicts" in a
    ]
    assert len(measured) >= 2  # a step of one task has no pairs
    for before, now in measured:
        assert now["tasks"] == before["tasks"]
        assert now["global"]["cosines"] == pytest.approx(before["global"]["cosines"], abs=5e-3)


def test_a_task_that_no_process_saw_is_passed_over_as_on_one_process(tmp_path: Path) -> None:
    finish(tmp_path / "one", "--per-task")
    finish_with_two(tmp_path / "two", "--per-task")

    one, two = (optimizer_steps(tmp_path / folder) for folder in ("one", "two"))
    assert one == two
    assert len(set(one.values())) == 3, "every task was seen equally often, so this shows nothing"


def optimizer_steps(folder: Path) -> dict[str, float]:
    """Return how often the optimizer moved each parameter."""
    state = read(folder / "checkpoint" / "state.safetensors")[0]
    return {name: value.item() for name, value in state.items() if name.endswith(".step")}


def steps_of(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["event"] == "step"]
