"""``mtlora compose``, from a recipe file to a run folder, and how it stops."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cli_command import events, mtlora, written
from cli_events import a_run, started, step
from toys import toy_registry

from mtlora_core.errors import TrainingError
from mtlora_core.registry import Registry

Run = Callable[..., Iterator[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with the toys for plugins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Registry, "discover", lambda *, external=True: toy_registry())


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Return what puts a made-up run in the place of training."""
    module = import_module("mtlora_core.run")
    return lambda run: monkeypatch.setattr(module, "run", run)


def test_trains_and_ends_with_a_table_and_what_to_do_next(recipe: Path) -> None:
    done = mtlora("compose", recipe, "--steps", 3, "--device", "cpu")

    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for text in ("toy0", "toy1", "toy2", "mean", "majority", "TF-IDF", "model", "95 % interval"):
        assert text in done.stdout
    assert "mtlora predict runs/toy" in done.stdout
    assert "step 3/3" in done.stderr
    assert Path("runs/toy/adapter.safetensors").is_file()


def test_a_second_run_has_a_folder_of_its_own(recipe: Path, instead: Callable[[Run], None]) -> None:
    Path("runs/toy").mkdir(parents=True)
    asked: list[Path] = []

    def run(plan: object, folder: Path, **_: object) -> Iterator[dict[str, Any]]:
        asked.append(folder)
        yield from a_run()

    instead(run)

    mtlora("compose", recipe)

    assert asked == [Path("runs/toy-2")]


def test_out_names_the_run_folder(recipe: Path) -> None:
    done = mtlora("compose", recipe, "--steps", 1, "--out", "here", "--quiet")

    assert done.exit_code == 0
    assert Path("here/adapter.safetensors").is_file()


def test_refuses_a_folder_that_holds_something_else(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")

    done = mtlora("compose", recipe, "--out", "mine")

    assert done.exit_code == 2
    assert "choose another --out" in done.stderr
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


def test_json_prints_events_and_nothing_else(recipe: Path) -> None:
    done = mtlora("compose", recipe, "--steps", 2, "--json")

    names = [event["event"] for event in events(done)]
    assert names[-1] == "finished"
    assert names.count("step") == 2
    assert {"phase", "started", "evaluated"} <= {*names}


def test_quiet_prints_the_mean_in_one_line(recipe: Path) -> None:
    done = mtlora("compose", recipe, "--steps", 1, "--quiet")

    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("mean 0.")


def test_of_several_processes_one_speaks(
    recipe: Path, instead: Callable[[Run], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(lambda *_, **__: a_run())
    monkeypatch.setenv("RANK", "1")

    for options in ([], ["--json"], ["--quiet"]):
        done = mtlora("compose", recipe, *options)

        assert (done.exit_code, done.output) == (0, "")


def test_set_changes_the_recipe_and_says_what_it_dropped(recipe: Path) -> None:
    done = mtlora("compose", recipe, "--dry-run", "--set", "router.use=token", "--set", "seed=3")

    assert done.exit_code == 0
    assert "token" in done.stdout
    assert "fine-grained" not in done.stdout
    assert "note: " in done.stderr
    assert "groups" in done.stderr


def test_a_dry_run_prints_the_plan_and_writes_nothing(recipe: Path) -> None:
    done = mtlora("compose", recipe, "--dry-run", "--steps", 7)

    assert done.exit_code == 0
    for text in ("hydra", "experts 0+unpackaged", "2 blocks, 16 → 16", "toy2", "trained"):
        assert text in done.stdout
    assert done.stdout.split("steps")[1].split()[0] == "7"
    assert not Path("runs").exists()


def test_a_dry_run_in_json_is_one_event(recipe: Path) -> None:
    (plan,) = events(mtlora("compose", recipe, "--dry-run", "--json"))

    assert plan["event"] == "plan"
    assert [part["path"] for part in plan["parts"]][:2] == ["backbone", "placement"]
    assert plan["parameters"]["trainable"] < plan["parameters"]["total"]


def test_a_stopped_run_goes_on_by_its_folder_alone(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = import_module("mtlora_core.run")
    train = run._train
    with monkeypatch.context() as patch:
        patch.setattr(run, "_train", lambda *given: interrupted(train(*given), at=2))
        stopped = mtlora("compose", recipe, "--steps", 4, "--out", "here")
    assert stopped.exit_code == 130
    assert "mtlora compose --resume here" in stopped.stderr

    resumed = mtlora("compose", "--resume", "here")

    assert resumed.exit_code == 0
    assert "mean" in resumed.stdout
    assert "mtlora evaluate here" in resumed.stdout


def interrupted(run: Iterator[dict[str, Any]], at: int) -> Iterator[dict[str, Any]]:
    """Yield a run's events up to a step, at which somebody presses Ctrl-C."""
    for event in run:
        yield event
        if event["event"] == "step" and event["step"] == at:
            raise KeyboardInterrupt


def test_resuming_a_finished_run_shows_its_table_again(recipe: Path) -> None:
    first = mtlora("compose", recipe, "--steps", 1, "--out", "here")

    again = mtlora("compose", "--resume", "here")

    assert again.exit_code == 0
    assert again.stdout == first.stdout


def test_an_interruption_before_the_run_began_promises_no_run(
    recipe: Path, instead: Callable[[Run], None]
) -> None:
    def run(*_: object, **__: object) -> Iterator[dict[str, Any]]:
        yield {"event": "phase", "name": "reading the tasks"}
        raise KeyboardInterrupt

    instead(run)

    done = mtlora("compose", recipe, "--json")

    assert done.exit_code == 130
    assert done.stderr == "mtlora: interrupted before the run had begun\n"
    assert events(done)[-1]["status"] == 130


def test_a_folder_with_a_blank_is_quoted_in_the_advice(
    recipe: Path, instead: Callable[[Run], None]
) -> None:
    instead(lambda *_, **__: interrupted(iter([started(folder="my runs/a"), step(1)]), at=1))

    done = mtlora("compose", recipe)

    assert "--resume 'my runs/a'" in done.stderr


def test_a_run_that_fails_says_each_problem_and_exits_with_one(
    recipe: Path, instead: Callable[[Run], None]
) -> None:
    def run(*_: object, **__: object) -> Iterator[dict[str, Any]]:
        yield started()
        raise TrainingError(["step 7: the loss of task 'toy0' is nan", "resume from step 6"])

    instead(run)

    done = mtlora("compose", recipe, "--json")

    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "mtlora: step 7: the loss of task 'toy0' is nan",
        "mtlora: resume from step 6",
    ]
    assert events(done)[-1] == {
        "event": "error",
        "status": 1,
        "problems": ["step 7: the loss of task 'toy0' is nan", "resume from step 6"],
    }


def test_a_bug_of_ours_keeps_its_traceback(recipe: Path, instead: Callable[[Run], None]) -> None:
    def run(*_: object, **__: object) -> Iterator[dict[str, Any]]:
        yield started()
        raise ZeroDivisionError("a bug")

    instead(run)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        mtlora("compose", recipe)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give a RECIPE"),
        (["toy.yaml", "--resume", "here"], "--resume goes on with the run's own recipe"),
        (["--resume", "here", "--set", "seed=1"], "--resume goes on with the run's own recipe"),
        (["--resume", "here", "--out", "there"], "--resume goes on with the run's own recipe"),
        (["toy.yaml", "--locked"], "--locked goes with --resume"),
    ],
)
def test_what_cannot_be_meant_is_refused(recipe: Path, arguments: list[str], reason: str) -> None:
    done = mtlora("compose", *arguments, "--json")

    assert done.exit_code == 2
    assert done.stderr.startswith(f"mtlora: {reason}")
    assert events(done)[0]["problems"][0].startswith(reason)


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--stpes", "5"], ["--steps", "few"]])
def test_an_option_that_cannot_be_read_is_named(recipe: Path, arguments: list[str]) -> None:
    done = mtlora("compose", recipe, *arguments)

    assert done.exit_code == 2
    assert "--steps" in done.stderr


@pytest.mark.parametrize("folder", ["gone", "."])
def test_resuming_what_is_no_run_is_an_error(folder: str) -> None:
    done = mtlora("compose", "--resume", folder)

    assert done.exit_code == 2
    assert done.stderr.startswith("mtlora: ")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (["--device", "cpu"], {"device": "cpu"}),
        (["--steps", "5"], {"steps": 5}),
        ([], {"device": None, "steps": None, "resume": False, "locked": False}),
    ],
)
def test_options_reach_the_run(
    recipe: Path,
    instead: Callable[[Run], None],
    option: list[str],
    expected: dict[str, object],
) -> None:
    given: dict[str, object] = {}

    def run(*_: object, **how: object) -> Iterator[dict[str, Any]]:
        given.update(how)
        yield from a_run()

    instead(run)

    mtlora("compose", recipe, *option)

    assert expected.items() <= given.items()


def test_locked_reaches_a_run_that_goes_on(recipe: Path, instead: Callable[[Run], None]) -> None:
    mtlora("compose", recipe, "--steps", 1, "--out", "here", "--quiet")
    given: dict[str, object] = {}

    def run(*_: object, **how: object) -> Iterator[dict[str, Any]]:
        given.update(how)
        yield from a_run()

    instead(run)

    mtlora("compose", "--resume", "here", "--locked")

    assert given["locked"] is True
    assert given["resume"] is True


def test_what_the_terminal_cannot_show_does_not_fail_the_command() -> None:
    probe = (
        "import mtlora_core.cli as cli\n"
        "from mtlora_core.cli import render\n"
        "cli.app = lambda **_: render.console().print('caf\u00e9 \u2026')\n"
        "cli.main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )

    assert done.stdout == b"caf\xe9 \\u2026\n"


def test_the_plan_of_a_file_is_that_of_the_same_recipe_in_json(recipe: Path) -> None:
    # The run folder's recipe resolves to the plan that ran: composing it again is the same.
    mtlora("compose", recipe, "--steps", 1, "--out", "here", "--quiet")

    (first,) = events(mtlora("compose", recipe, "--dry-run", "--json"))
    (again,) = events(mtlora("compose", "here/recipe.yaml", "--dry-run", "--json"))

    assert json.dumps(again["parts"]) == json.dumps(first["parts"])
