"""An ablation is killed in the middle and called again: nothing is lost, nothing done twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from cli_command import rows

from mtlora_transformers.testing import save_tiny

SAVE_EVERY = 8
RECIPE = {
    "name": "grid",
    "placement": "component",
    "experts": {"use": "hydra", "count": 2, "rank": 2},
    "router": "token",
    "tasks": {"use": "docstrings", "only": ["returns", "kind"], "limit": 64},
    "train": {
        "steps": 160,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "evaluate_every": 40,
        "save_every": SAVE_EVERY,
    },
}
"""The docstrings tasks at toy size, on a random encoder."""
GRID = [
    *("--swap", "router=token,fine-grained"),
    *("--swap", "placement=component,block"),
    *("--swap", "regularizers=[],[spectral-aware]"),
    *("--seeds", "2"),
    *("--jobs", "2"),
]
CELLS = 2 * 2 * 2 * 2
MEASURED = (
    "seconds",
    "memory",
    "training_seconds",
    "seconds_left",
    "tokens_per_second",
    "data_wait",
)
"""What two runs of the same thing differ in."""

pytestmark = pytest.mark.slow


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tiny").mkdir()
    backbone = {"model": str(save_tiny(tmp_path / "tiny", "bert")), "max_length": 16}
    recipe = {**RECIPE, "backbone": {"use": "transformers", **backbone}}
    (tmp_path / "grid.yaml").write_text(json.dumps(recipe))
    own = {"MTLORA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return {**os.environ, **own}


def command(folder: Path, out: str) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "mtlora_core", "ablate", str(folder / "grid.yaml")),
        *GRID,
        *("--out", str(folder / out)),
    ]


def called(folder: Path, out: str, surroundings: Mapping[str, str]) -> str:
    """Run the command to its end; return its table."""
    done = subprocess.run(command(folder, out), env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_ablation_killed_in_the_middle_ends_with_the_table_of_an_unbroken_one(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    kill_in_the_middle(tmp_path, surroundings)
    broken = tmp_path / "broken" / "runs"
    before = snapshot(broken)
    last = {run.name: last_step(run) for run in broken.iterdir() if not finished(run)}
    assert 2 <= len(before) < CELLS
    assert any(step > SAVE_EVERY for step in last.values())

    called(tmp_path, "broken", surroundings)
    called(tmp_path, "whole", surroundings)

    assert results(tmp_path / "broken") == results(tmp_path / "whole")
    assert len(list(broken.iterdir())) == CELLS
    for run in broken.iterdir():
        assert metrics(run) == metrics(tmp_path / "whole" / "runs" / run.name)
    for name, step in last.items():
        assert step - resumed_at(broken / name) <= SAVE_EVERY
    assert {path: snapshot(broken)[path] for path in before} == before


def kill_in_the_middle(folder: Path, surroundings: Mapping[str, str]) -> None:
    """Start it, and kill it and its cells when some are finished and one is well under way."""
    with subprocess.Popen(
        command(folder, "broken"),
        env=surroundings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        until = monotonic() + 600
        while not in_the_middle(folder / "broken" / "runs"):
            assert process.poll() is None, "it ended before it could be killed"
            assert monotonic() < until, "it never came to the middle"
            sleep(0.02)
        process.kill()
        for cell in running(folder / "broken" / "runs"):
            os.kill(cell, signal.SIGKILL)


def in_the_middle(runs: Path) -> bool:
    if not runs.is_dir():
        return False
    done = [finished(run) for run in runs.iterdir()]
    under_way = (last_step(run) for run in runs.iterdir() if not finished(run))
    return sum(done) >= 2 and any(step > 2 * SAVE_EVERY for step in under_way)


def running(runs: Path) -> Iterator[int]:
    """Yield the processes of cells, from what they wrote into their folders."""
    for path in runs.glob("*/.running"):
        if (found := re.match(r"process (\d+)", path.read_text())) is not None:
            yield int(found[1])


def finished(run: Path) -> bool:
    return any(record["event"] == "finished" for record in whole_lines(run))


def last_step(run: Path) -> int:
    return max((r["step"] for r in whole_lines(run) if r["event"] == "step"), default=0)


def whole_lines(run: Path) -> list[Mapping[str, Any]]:
    """Return the records of a run; a line that is being written, or was killed, is left out."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def resumed_at(run: Path) -> int:
    starts = [record for record in rows(run / "metrics.jsonl") if record["event"] == "started"]
    return int(starts[-1]["resumed_at"])


def snapshot(runs: Path) -> dict[Path, tuple[int, bytes]]:
    """Return time and content of every file of finished cells."""
    paths = [p for run in runs.iterdir() if finished(run) for p in run.rglob("*") if p.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return what a cell recorded of its steps, without what is measured."""
    kept = [record for record in rows(run / "metrics.jsonl") if record["event"] != "started"]
    return [{k: v for k, v in record.items() if k not in MEASURED} for record in kept]


def results(folder: Path) -> Any:
    """Return the results of an ablation, without what is measured."""
    return without_measured(json.loads((folder / "results.json").read_text("utf-8")))


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_measured(v) for k, v in value.items() if k not in MEASURED}
    return [without_measured(each) for each in value] if isinstance(value, list) else value


def test_ctrl_c_stops_the_cells_and_a_second_call_at_once_shares_the_rest(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    small = ["--swap", "router=token,fine-grained", "--seeds", "2", "--out", str(tmp_path / "a")]
    words = [
        sys.executable,
        "-P",
        "-m",
        "mtlora_core",
        "ablate",
        str(tmp_path / "grid.yaml"),
        *small,
    ]
    with subprocess.Popen(words, env=surroundings, stderr=subprocess.PIPE, text=True) as process:
        while not any(last_step(run) > SAVE_EVERY + 1 for run in (tmp_path / "a").glob("runs/*")):
            assert process.poll() is None
            sleep(0.02)
        cells = list(running(tmp_path / "a" / "runs"))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "the same command goes on with the others" in said
    assert cells
    assert not any(Path(f"/proc/{cell}").exists() for cell in cells)

    both = [
        subprocess.Popen(
            words, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate() for process in both]

    assert [process.returncode for process in both] == [0, 0], told
    assert told[0][0] == told[1][0]
    starts = [
        sum(record["event"] == "started" for record in rows(run / "metrics.jsonl"))
        for run in (tmp_path / "a" / "runs").iterdir()
    ]
    assert len(starts) == 4
    assert sum(starts) == 4 + 1  # the interrupted one began twice, no other did
