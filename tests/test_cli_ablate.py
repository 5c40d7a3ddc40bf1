"""``mtlora ablate``, from what is typed to the table, over toys in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ablations import Stub, begin, finish
from cli_command import events, mtlora, written
from rich.console import Console
from toys import toy_registry

from mtlora_core import ablate
from mtlora_core.ablate import schedule
from mtlora_core.cli import ablation_progress
from mtlora_core.registry import Registry
from mtlora_core.runfolder import RunFolder

TRAIN = {"steps": 3, "batch_size": 8, "learning_rate": 1e-2}
Act = Callable[[RunFolder, Sequence[str]], int | None]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with the toys for plugins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Registry, "discover", lambda *, external=True: toy_registry())
    monkeypatch.setattr("signal.signal", lambda *given: None)
    for name, seconds in (("TICK", 0.01), ("LOOK", 0.03), ("PATIENCE", 0.1)):
        monkeypatch.setattr(schedule, name, seconds)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return written(tmp_path, train=TRAIN)


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], Stub]:
    """Return what puts something in the place of the processes of cells."""

    def install(act: Act) -> Stub:
        stub = Stub(act)
        monkeypatch.setattr(ablate, "executor_of", lambda *given, **how: stub)
        return stub

    return install


def in_this_process(home: RunFolder, command: Sequence[str]) -> int:
    """Run a cell's command here, where the toys are."""
    return mtlora(*command[4:], "--device", "cpu").exit_code


def done(home: RunFolder, command: Sequence[str]) -> int:
    finish(home)
    return 0


SWAP = ("--swap", "router=token,fine-grained")


def test_a_recipe_becomes_a_table_and_files(recipe: Path, instead: Callable[[Act], Stub]) -> None:
    stub = instead(in_this_process)

    found = mtlora("ablate", recipe, *SWAP, "--seeds", "2")

    assert found.exit_code == 0
    assert len(stub.jobs) == 4
    assert max(map(len, found.stdout.splitlines())) <= 80
    for text in ("token", "fine-grained", "mean", "±95 %", "Δ", "adapters", "3 tasks and 2 seeds"):
        assert text in found.stdout
    home = Path("ablations/toy-router")
    assert f"The ablation is in {home}" in found.stdout
    assert json.loads((home / "results.json").read_text())["rows"][1]["finished"] == 2
    assert len((home / "results.csv").read_text().splitlines()) == 1 + 4 * 3
    assert all(RunFolder(path).adapter.is_file() for path in (home / "runs").iterdir())


def test_the_table_is_shown_again_by_the_same_command(
    recipe: Path, instead: Callable[[Act], Stub]
) -> None:
    instead(done)
    first = mtlora("ablate", recipe, *SWAP)
    stub = instead(done)

    again = mtlora("ablate", recipe, *SWAP)

    assert again.stdout == first.stdout
    assert stub.jobs == []


def test_a_dry_run_shows_the_cells_and_writes_nothing(recipe: Path) -> None:
    found = mtlora(
        "ablate", recipe, *SWAP, "--swap", "experts.count=2,4", "--seeds", 3, "--dry-run"
    )

    assert found.exit_code == 0
    assert "fine-grained · count 4" in found.stdout
    assert "12 cells, seeds 0, 1, 2" in found.stdout
    assert "router.groups: dropped" in found.stderr
    assert not Path("ablations").exists()


def test_a_dry_run_in_json_is_one_event(recipe: Path, instead: Callable[[Act], Stub]) -> None:
    instead(done)
    mtlora("ablate", recipe, *SWAP)

    *notes, found = events(mtlora("ablate", recipe, *SWAP, "--seeds", 2, "--dry-run", "--json"))

    assert {note["event"] for note in notes} == {"note"}
    assert (found["event"], found["count"]) == ("cells", 4)
    assert [cell["state"] for cell in found["rows"][0]["cells"]] == ["finished", "new"]


def test_json_prints_events_to_the_results(recipe: Path, instead: Callable[[Act], Stub]) -> None:
    instead(done)

    told = events(mtlora("ablate", recipe, *SWAP, "--json"))

    assert [each["state"] for each in told if each["event"] == "cell"] == [
        "started",
        "finished",
    ] * 2
    assert told[-1]["event"] == "results"
    assert told[-1]["rows"][0]["test"]["mean"] == 0.5


def test_rows_that_cannot_work_end_it_with_status_2_before_anything_runs(
    recipe: Path, instead: Callable[[Act], Stub]
) -> None:
    stub = instead(done)

    refused = mtlora("ablate", recipe, "--swap", "router=token,tokne")
    assert refused.exit_code == 2
    assert "row 'tokne'" in refused.stderr
    assert "did you mean 'token'?" in refused.stderr
    assert stub.jobs == []

    skipped = mtlora("ablate", recipe, "--swap", "router=token,tokne", "--skip-invalid")
    assert skipped.exit_code == 0
    assert "left out: row 'tokne'" in skipped.stderr
    assert len(stub.jobs) == 1


def test_failed_cells_are_listed_at_the_end_with_status_1(
    recipe: Path, instead: Callable[[Act], Stub]
) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        if "-token-" not in home.path.name:
            return done(home, command)
        begin(home)
        (home.path.parents[1] / "logs" / f"{home.path.name}.log").write_text(
            "mtlora: a loss is nan\n"
        )
        return 1

    instead(act)

    found = mtlora("ablate", recipe, *SWAP)

    assert found.exit_code == 1
    assert "fine-grained  0.500" in found.stdout
    assert found.stderr.splitlines()[-1].endswith(": a loss is nan")


def test_ctrl_c_stops_it_with_status_130_and_the_next_call_goes_on(
    recipe: Path, instead: Callable[[Act], Stub]
) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        if len(stub.jobs) == 2:
            raise KeyboardInterrupt
        return done(home, command)

    stub = instead(act)

    stopped = mtlora("ablate", recipe, *SWAP, "--seeds", 2)
    assert stopped.exit_code == 130
    assert "interrupted, after 1 finished cell; the same command goes on" in stopped.stderr

    rest = instead(done)
    assert mtlora("ablate", recipe, *SWAP, "--seeds", 2).exit_code == 0
    assert len(rest.jobs) == 3


def test_what_the_budget_leaves_is_told(recipe: Path, instead: Callable[[Act], Stub]) -> None:
    stub = instead(done)

    found = mtlora("ablate", recipe, *SWAP, "--budget", 0)

    assert found.exit_code == 0
    assert "the budget is used up: 2 cells left" in found.stderr
    assert stub.jobs == []


def test_jobs_and_devices_reach_the_executor_and_the_cells(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, asked = Stub(done), []

    def executor_of(*given: object, jobs: int, home: object) -> Stub:
        asked.append(jobs)
        return stub

    monkeypatch.setattr(ablate, "executor_of", executor_of)

    mtlora("ablate", recipe, *SWAP, "--devices", "cpu,mps", "--out", "a")
    mtlora("ablate", recipe, *SWAP, "--jobs", 3, "--out", "b", "--no-external-plugins")

    assert asked == [2, 3]
    devices = [job.command[job.command.index("--device") + 1] for job in stub.jobs[:2]]
    assert devices == ["cpu", "mps"]
    assert all(job.command[-1] == "--no-external-plugins" for job in stub.jobs[2:])


def test_an_executor_is_a_part_with_options(recipe: Path) -> None:
    missing = mtlora("ablate", recipe, "--executor", "lcoal")
    assert missing.exit_code == 2
    assert "executor 'lcoal' is not installed" in missing.stderr
    assert "did you mean 'local' of package mtlora-executors?" in missing.stderr

    Path("study.yaml").write_text("recipe: toy.yaml\nexecutor: {use: local, thread: 2}\n")
    wrong = mtlora("ablate", "study.yaml")
    assert wrong.exit_code == 2
    assert "executor" in wrong.stderr


def test_swaps_and_choices_of_the_command_line_reach_the_study(recipe: Path) -> None:
    flags = (
        "--tasks 1,2 --match steps --tune train.learning_rate=1e-3,1e-2 --tune-seeds 8,9 "
        "--tune-steps 2 --set train.batch_size=4 --dry-run --json"
    )

    found = events(mtlora("ablate", recipe, *flags.split(), "--baseline", "2 tasks"))[-1]

    assert (found["name"], found["baseline"], found["count"]) == ("toy-tasks", "2 tasks", 8)
    assert [cell["seed"] for cell in found["rows"][0]["trials"]] == [8, 9, 8, 9]


# What is seen while it runs.


def shown(found: Any, *, terminal: bool) -> str:
    """Return what a study of two rows shows of some events."""
    stream = StringIO()
    console = Console(file=stream, width=80, force_terminal=terminal, force_interactive=terminal)
    board = ablation_progress.Board(found)
    with (ablation_progress.table if terminal else ablation_progress.lines)(console, board) as show:
        for event in EVENTS:
            show(event)
        if terminal:
            console.print(board.table())
    return stream.getvalue()


CELL = {"event": "cell", "cell": "block-hydra-s0-0123456789", "row": "token", "seed": 0}
EVENTS: list[dict[str, Any]] = [
    {**CELL, "tuning": True, "state": "started", "device": None},
    {**CELL, "tuning": True, "state": "finished", "again": False, "validation": 0.7},
    {"event": "chosen", "row": "token", "chosen": {"train.learning_rate": "0.01"}, "trials": []},
    {**CELL, "tuning": False, "state": "started", "device": None},
    {**CELL, "tuning": False, "state": "failed", "reason": "no [memory]"},
    {
        "event": "progress",
        "cells": [{"row": "fine-grained", "step": 3, "steps": 9, "validation": 0.625}],
    },
    {
        **CELL,
        "row": "fine-grained",
        "tuning": False,
        "state": "elsewhere",
        "by": "process 7 on lab",
    },
    {**CELL, "row": "fine-grained", "tuning": False, "state": "finished", "test": 0.5},
]


@pytest.fixture
def study(recipe: Path) -> Any:
    flags = ablate.Flags(swap=[SWAP[1]], tune=["train.learning_rate=1e-3,1e-2"], seeds="2")
    return ablate.read_study(recipe, flags, toy_registry())


def test_without_a_terminal_whatever_becomes_of_a_cell_is_a_line(study: Any) -> None:
    lines = shown(study, terminal=False).splitlines()

    assert lines[1] == "finished  token, tuning seed 0  block-hydra-s0-0123456789  validation 0.700"
    assert lines[2] == "token: chosen on validation: train.learning_rate 0.01"
    assert lines[4].endswith(": no [memory]")
    assert lines[5].endswith(" by process 7 on lab")
    assert lines[6].endswith("test 0.500")
    assert len(lines) == 7


def test_on_a_terminal_a_table_says_what_is_done_and_under_way(study: Any) -> None:
    board = ablation_progress.Board(study)
    for event in EVENTS[:6]:
        board.take(event)
    console = Console(file=StringIO(), width=80)
    with console.capture() as capture:
        console.print(board.table())

    rows = {
        line.split()[0]: line.split()[1:] for line in capture.get().splitlines() if line.strip()
    }
    assert rows["token"] == ["1/2", "0/2,", "1", "failed"]
    assert rows["fine-grained"] == ["0/2", "0/2", "3/9", "0.625"]
    assert "no [memory]" in shown(study, terminal=True)
