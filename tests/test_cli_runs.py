"""``mtlora runs`` and ``mtlora diff``: run folders side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ablations import begin, finish
from cli_command import events, mtlora
from parts import recipe_with

from mtlora_core.runfolder import RunFolder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs: one finished, one of another recipe and score, one stopped."""
    monkeypatch.chdir(tmp_path)
    finish(RunFolder(Path("runs/a")), 0.5)
    other = recipe_with(
        router="each", regularizers=["even", {"use": "apart", "weight": 0.25}], seed=3
    )
    finish(RunFolder(Path("runs/deep/b")), 0.6, recipe=other, lock={"torch": "3"})
    begin(RunFolder(Path("runs/c")), steps=9)
    return Path("runs")


def test_runs_lists_the_folders_with_state_scores_and_size(folder: Path) -> None:
    done = mtlora("runs", folder)

    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert lines["a"] == ["finished", "4/4", "0.500", "0.500", "12", "0:02"]
    assert lines["deep/b"] == ["finished", "4/4", "0.600", "0.600", "12", "0:02"]
    assert lines["c"] == ["unfinished", "4/9", "–", "–", "12", "–"]


def test_runs_shows_who_is_at_work(folder: Path) -> None:
    with RunFolder(folder / "c").held():
        assert "running" in mtlora("runs", folder).stdout


def test_runs_as_json_is_a_line_each(folder: Path) -> None:
    rows = events(mtlora("runs", folder, "--json"))

    assert [(row["run"], row["seed"], row["test"]) for row in rows] == [
        ("runs/a", 0, 0.5),
        ("runs/c", 0, None),
        ("runs/deep/b", 3, 0.6),
    ]


def test_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    assert "there are no run folders in it" in mtlora("runs", tmp_path).stderr
    assert mtlora("runs", tmp_path / "none").exit_code == 2


def test_a_run_that_cannot_be_read_hides_no_other(folder: Path) -> None:
    (folder / "a" / "recipe.yaml").write_text("name: of another version\nmind: true\n")

    done = mtlora("runs", folder)
    *rows, note = events(mtlora("runs", folder, "--json"))[:4]

    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert done.exit_code == 0
    assert lines["a"] == ["unreadable", *"–––––"]
    assert lines["deep/b"][0] == "finished"
    assert any("runs/a/recipe.yaml:2:1: mind: no such key" in n for n in done.stderr.splitlines())
    assert [row["state"] for row in rows] == ["unreadable", "unfinished", "finished"]
    assert rows[0].keys() == rows[2].keys()
    assert note["event"] == "note"
    assert note["text"] in rows[0]["problems"]


def test_a_folder_of_which_no_run_can_be_read_is_an_error(folder: Path) -> None:
    for path in folder.rglob("recipe.yaml"):
        path.write_text("mind: true")

    done = mtlora("runs", folder)

    assert done.exit_code == 2
    assert done.stderr.count("mind: no such key") == 3


def test_diff_says_what_differs_and_nothing_else(folder: Path) -> None:
    done = mtlora("diff", folder / "a", folder / "deep" / "b")

    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    (found,) = events(mtlora("diff", folder / "a", folder / "deep" / "b", "--json"))
    keys = {row["key"]: (row["before"], row["after"]) for row in found["recipe"]}
    assert keys == {
        "seed": (0, 3),
        "router.use": ("grouped", "each"),
        "router.groups": (4, None),
        "regularizers.apart.weight": (0.5, 0.25),
    }
    assert [row["key"] for row in found["lock"]] == ["torch"]
    assert {row["key"] for row in found["results"]} == {"test.mean", "test.one", "test.two"}
    for text in (*keys, "made with", "test.two", "0.600"):
        assert text in done.stdout


def test_diff_of_a_run_with_itself_is_nothing(folder: Path) -> None:
    assert mtlora("diff", folder / "a", folder / "a").stdout == "the runs differ in nothing\n"


def test_diff_needs_two_runs(folder: Path) -> None:
    done = mtlora("diff", folder / "a", folder / "none")

    assert done.exit_code == 2
    assert "there is no such run folder" in done.stderr


@pytest.mark.parametrize("command", [["runs", "runs"], ["diff", "runs/a", "runs/c"]])
def test_neither_loads_torch(folder: Path, command: list[str]) -> None:
    probe = (
        f"import sys; sys.argv = ['mtlora', *{command!r}]\nfrom mtlora_core.cli import main\n"
        "try: main()\nexcept SystemExit as done: assert not done.code, done.code\n"
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0
