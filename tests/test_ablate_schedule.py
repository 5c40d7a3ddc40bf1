"""How cells are run: what is begun, what goes on, what fails, and what is left to others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from ablations import Event, Stub, all_cells, begin, finish, recipe_in, schedule_in, study_of

from mtlora_core.ablate import Schedule, schedule
from mtlora_core.ablate.cells import Cell
from mtlora_core.ablate.devices import places
from mtlora_core.ablate.reasons import reason_of
from mtlora_core.execution import Job
from mtlora_core.runfolder import RunFolder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("TICK", 0.01), ("LOOK", 0.03), ("GRACE", 0.2), ("PATIENCE", 0.2)):
        monkeypatch.setattr(schedule, name, seconds)


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    """Four cells: two rows of two seeds."""
    return all_cells(study_of(recipe_in(tmp_path), swap=["experts.count=2,3"], seeds="2"))


def works(home: RunFolder, command: Sequence[str]) -> int:
    finish(home)
    return 0


def fails(home: RunFolder, command: Sequence[str]) -> int:
    begin(home)
    return 1


def states(events: list[Event]) -> list[str]:
    return [event["state"] for event in events if event["event"] == "cell"]


def test_every_cell_is_run_once_and_told(tmp_path: Path, cells: list[Cell]) -> None:
    stub = Stub(works)
    plan = schedule_in(tmp_path / "a", stub)

    events = list(plan.run([*cells, cells[0]]))

    assert states(events) == ["started", "finished"] * 4
    assert [job.name for job in stub.jobs] == [cell.name for cell in cells]
    assert plan.finished == {cell.name for cell in cells}
    assert [event["test"] for event in events if event["state"] == "finished"] == [0.5] * 4


def test_a_cell_is_a_compose_in_a_process_of_its_own(tmp_path: Path, cells: list[Cell]) -> None:
    stub = Stub(works)
    plan = schedule_in(tmp_path / "a", stub, extra=["--no-external-plugins"])

    list(plan.run(cells[:1]))

    recipe, run = plan.home.recipe(cells[0]), plan.home.run(cells[0]).path
    python = [sys.executable, "-P", "-m", "mtlora_core"]
    assert stub.jobs[0].command == [
        *python, "compose", str(recipe), "--out", str(run), "--quiet", "--no-external-plugins",
    ]  # fmt: skip
    assert recipe.read_text() == cells[0].text()
    assert stub.jobs[0].log == plan.home.log(cells[0])


def test_a_cell_that_a_cluster_begins_again_goes_on_with_its_run(
    tmp_path: Path, cells: list[Cell]
) -> None:
    stub = Stub(lambda home, command: 1)
    plan = schedule_in(tmp_path / "a", stub)
    list(plan.run(cells[:1]))
    (job,), home = stub.jobs, plan.home.run(cells[0])

    assert job.due() == job.command
    begin(home)
    begun = list(job.due())

    assert begun[5:7] == ["--resume", str(home.path)]
    assert begun[:5] == [*job.command[:5]]
    assert begun[7:] == ["--quiet"]


def test_finished_cells_are_neither_run_again_nor_touched(
    tmp_path: Path, cells: list[Cell]
) -> None:
    plan = schedule_in(tmp_path / "a", Stub(works))
    list(plan.run(cells))
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files(plan.home.runs)}
    stub = Stub(fails)

    events = list(schedule_in(tmp_path / "a", stub).run(cells))

    assert stub.jobs == []
    assert states(events) == ["finished"] * 4
    assert all(event["again"] for event in events)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files(plan.home.runs)} == before


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_failed_cell_stops_no_other_and_is_tried_again_by_the_next_call(
    tmp_path: Path, cells: list[Cell]
) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        return fails(home, command) if "-s1-" in home.path.name else works(home, command)

    plan = schedule_in(tmp_path / "a", Stub(act))
    events = list(plan.run(cells))
    again = Stub(works)

    list(schedule_in(tmp_path / "a", again).run(cells))

    assert states(events) == ["started", "finished", "started", "failed"] * 2
    assert plan.failed.keys() == {cells[1].name, cells[3].name}
    assert [job.command[5:7] for job in again.jobs] == [
        ["--resume", str(plan.home.run(cell).path)] for cell in (cells[1], cells[3])
    ]


def test_a_run_that_never_really_began_is_begun_anew(tmp_path: Path, cells: list[Cell]) -> None:
    stub = Stub(works)
    plan = schedule_in(tmp_path / "a", stub)
    home = plan.home.run(cells[0])
    home.path.mkdir()
    home.recipe.write_text("killed before the lock was written")
    (home.path / ".lock.json.7.tmp").write_text("{")

    events = list(plan.run(cells[:1]))

    assert states(events) == ["started", "finished"]
    assert "--out" in stub.jobs[0].command


def test_what_is_no_run_is_in_the_way_and_left_alone(tmp_path: Path, cells: list[Cell]) -> None:
    plan = schedule_in(tmp_path / "a", Stub(works))
    thesis = plan.home.run(cells[0]).path / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("all of it")

    events = list(plan.run(cells[:2]))

    assert states(events) == ["failed", "started", "finished"]
    assert "is in the way of a run" in plan.failed[cells[0].name]
    assert thesis.read_text() == "all of it"


def test_a_process_that_ends_well_without_a_result_has_failed(
    tmp_path: Path, cells: list[Cell]
) -> None:
    plan = schedule_in(tmp_path / "a", Stub(lambda home, command: 0))

    events = list(plan.run(cells[:1]))

    assert states(events) == ["started", "failed"]
    assert plan.failed[cells[0].name] == "ended with status 0"


# Several at a time.


def test_as_many_run_at_a_time_as_there_are_places_each_on_its_device(
    tmp_path: Path, cells: list[Cell]
) -> None:
    stub = Stub(lambda home, command: None)
    plan = schedule_in(tmp_path / "a", stub)
    plan.devices = ["cuda:0", "cuda:1", "cuda:0"]
    told = plan.run(cells)

    begun = [next(told) for _ in range(3)]
    on = [job.command[job.command.index("--device") + 1] for job in stub.jobs]
    told.close()

    assert states(begun) == ["started"] * 3
    assert on == ["cuda:0", "cuda:1", "cuda:0"]
    assert [each.asked for each in stub.running] == [["interrupt"]] * 3


def test_places_take_the_devices_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)

    assert places(3, ["cpu", "mps"], here=True) == ["cpu", "mps", "cpu"]
    assert places(3, [], here=True) == ["cuda:0", "cuda:1", "cuda:0"]
    assert places(1, [], here=True) == [None]
    assert places(3, [], here=False) == [None] * 3
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert places(2, [], here=True) == [None] * 2


def test_progress_is_told_while_cells_run(tmp_path: Path, cells: list[Cell]) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> None:
        begin(home, steps=9)

    told = schedule_in(tmp_path / "a", Stub(act)).run(cells[:1])

    event = next(each for each in told if each["event"] == "progress")
    told.close()

    (one,) = event["cells"]
    assert (one["step"], one["steps"], one["loss"], one["validation"]) == (4, 9, 0.5, None)
    assert (one["row"], one["seed"]) == ("count 2", 0)


# Others.


def test_a_cell_that_another_call_runs_is_left_to_it(tmp_path: Path, cells: list[Cell]) -> None:
    stub = Stub(works)
    plan = schedule_in(tmp_path / "a", stub)
    with ExitStack() as other:
        other.enter_context(plan.home.claimed(cells[0]))
        told = plan.run(cells[:2])
        first = [next(told) for _ in range(3)]
        finish(plan.home.run(cells[0]))
    rest = list(told)

    assert states(first) == ["elsewhere", "started", "finished"]
    assert first[0]["by"].startswith("process ")
    assert states(rest) == ["finished"]
    assert len(stub.jobs) == 1


def test_a_process_that_outlived_its_call_is_waited_for_then_gone_on_with(
    tmp_path: Path, cells: list[Cell]
) -> None:
    stub = Stub(works)
    plan = schedule_in(tmp_path / "a", stub)
    home = plan.home.run(cells[0])
    begin(home)
    with home.held():
        told = plan.run(cells[:1])
        assert next(told)["state"] == "elsewhere"
        assert stub.jobs == []

    assert states(list(told)) == ["resumed", "finished"]
    assert "--resume" in stub.jobs[0].command


def test_a_cell_that_an_orphan_took_first_has_not_failed(tmp_path: Path, cells: list[Cell]) -> None:
    with ExitStack() as orphan:

        def act(home: RunFolder, command: Sequence[str]) -> int:
            if "--out" in command:
                begin(home)
                orphan.enter_context(home.held())
                return 2
            return works(home, command)

        plan = schedule_in(tmp_path / "a", Stub(act))
        told = plan.run(cells[:1])
        first = [next(told), next(told)]
        orphan.close()

        assert states(first + list(told)) == ["started", "elsewhere", "resumed", "finished"]
    assert plan.failed == {}


def test_a_claim_lasts_as_long_as_the_job(tmp_path: Path, cells: list[Cell]) -> None:
    stub = Stub(lambda home, command: None)
    plan = schedule_in(tmp_path / "a", stub)
    told = plan.run(cells[:1])
    next(told)

    held = plan.home.held_by(cells[0])
    told.close()

    assert held is not None
    assert plan.home.held_by(cells[0]) is None
    assert list(plan.home.claims.iterdir()) == []


# The end.


def test_when_the_budget_is_used_up_nothing_new_is_begun(tmp_path: Path, cells: list[Cell]) -> None:
    def act(home: RunFolder, command: Sequence[str]) -> int:
        plan.deadline = monotonic()  # while the first cell runs
        return works(home, command)

    plan = schedule_in(tmp_path / "a", Stub(act))

    events = list(plan.run(cells))

    assert states(events) == ["started", "finished"]
    assert [cell.name for cell in plan.left] == [cell.name for cell in cells[1:]]


def test_an_interrupted_schedule_stops_its_processes_and_kills_those_that_do_not_obey(
    tmp_path: Path, cells: list[Cell]
) -> None:
    stub = Stub(lambda home, command: None)
    plan = schedule_in(tmp_path / "a", stub, jobs=2)
    told = plan.run(cells)
    next(told)
    next(told)
    stub.running[1].interrupt = lambda: None  # type: ignore[method-assign]  # deaf

    with pytest.raises(KeyboardInterrupt):
        told.throw(KeyboardInterrupt)

    assert [each.asked for each in stub.running] == [["interrupt"], ["kill"]]


def test_an_executor_that_refuses_a_job_fails_that_cell(tmp_path: Path, cells: list[Cell]) -> None:
    from mtlora_core.errors import MtloraError

    class Full:
        on_this_machine = False

        def start(self, job: Job) -> Any:
            raise MtloraError("the queue is full")

    plan: Schedule = schedule_in(tmp_path / "a", Full())

    assert states(list(plan.run(cells[:2]))) == ["failed", "failed"]
    assert set(plan.failed.values()) == {"the queue is full"}


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("noise\nmtlora: a: b\nmtlora: c\n", 2, "a: b; c"),
        ("Traceback\n  File x\nValueError: no\n\n", 1, "ended with status 1: ValueError: no"),
        ("", -9, "was ended by signal SIGKILL, perhaps for lack of memory"),
        ("", -15, "was ended by signal SIGTERM"),
    ],
)
def test_the_reason_of_a_failure_is_what_the_process_said_last(
    tmp_path: Path, text: str, status: int, reason: str
) -> None:
    log = tmp_path / "log"
    log.write_text("mtlora: what an earlier process said\n")
    start = log.stat().st_size
    with log.open("a") as stream:
        stream.write(text)

    assert reason_of(log, start, status) == reason
