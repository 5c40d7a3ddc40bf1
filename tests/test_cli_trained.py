"""``mtlora evaluate`` and ``mtlora predict``, on a run of toys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_command import events, mtlora, rows, written
from toys import toy_registry

from mtlora_core.load import load
from mtlora_core.registry import Registry

TASKS = ("toy0", "toy1", "toy2")


@pytest.fixture(scope="module", autouse=True)
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a run of two classifications and a regression."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "discover", lambda *, external=True: toy_registry())
        patch.setenv("MTLORA_CACHE", str(folder / "cache"))
        recipe = written(folder, tasks={"use": "toy", "number": True})
        done = mtlora("compose", recipe, "--steps", 2, "--out", folder / "run", "--quiet")
        assert done.exit_code == 0, done.output
        yield folder / "run"


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Return a file with a question for every task, mixed."""
    path = tmp_path / "in.jsonl"
    lines = [{"text": "mark1 aa", "task": task, "id": i} for i, task in enumerate(TASKS * 2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_evaluate_shows_every_task_with_its_interval(run: Path) -> None:
    done = mtlora("evaluate", run)

    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for text in (*TASKS, "mean", "95 % interval", "test"):
        assert text in done.stdout


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluate_scores_the_split_that_is_asked_for(run: Path, split: str) -> None:
    *phases, scored = events(mtlora("evaluate", run, "--split", split, "--json"))

    assert {event["event"] for event in phases} == {"phase"}
    assert scored["split"] == split
    assert scored["tasks"].keys() == {*TASKS}


def test_evaluate_repeats_the_scores_that_the_run_ended_with(run: Path) -> None:
    ended = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])

    scored = events(mtlora("evaluate", run, "--json"))[-1]

    assert scored["mean"] == pytest.approx(ended["mean"]["model"])


def test_evaluate_refuses_another_split(run: Path) -> None:
    done = mtlora("evaluate", run, "--split", "train")

    assert done.exit_code == 2
    assert "--split" in done.stderr


def test_a_text_is_put_to_every_task(run: Path) -> None:
    done = mtlora("predict", run, "mark0 aa")

    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [*TASKS]


def test_a_text_is_put_to_the_task_that_is_named(run: Path) -> None:
    (row,) = events(mtlora("predict", run, "mark0 aa", "--task", "toy1", "--json"))

    (expected,) = load(run, registry=toy_registry()).predict(["mark0 aa"], "toy1")
    assert (row["task"], row["label"]) == ("toy1", expected.label)
    assert row["probabilities"] == pytest.approx(dict(expected.probabilities))


def test_a_text_that_is_not_utf_8_is_one_line(run: Path) -> None:
    done = mtlora("predict", run, "caf\udce9")  # as Python has the byte E9 of an argument

    assert done.exit_code == 2
    assert done.stderr.endswith("mtlora: TEXT: is not UTF-8\n")


def test_a_picture_is_put_to_a_model_of_texts_in_vain(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()

    done = mtlora("predict", run, "--image", tmp_path / "a.png", "--task", "toy1")

    assert done.exit_code == 2
    assert "the backbone reads texts, and an example is a picture" in done.stderr


def test_a_pair_is_another_question_than_its_first_text(run: Path) -> None:
    one = events(mtlora("predict", run, "aa bb", "--json"))
    pair = events(mtlora("predict", run, "aa bb", "--pair", "mark0", "--json"))

    assert one != pair


def test_a_file_is_answered_with_tasks_mixed_and_its_keys_kept(
    run: Path, asked: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"

    done = mtlora("predict", run, "--input", asked, "--output", out)

    assert (done.exit_code, done.stdout) == (0, "")
    answers = rows(out)
    assert [row["id"] for row in answers] == [*range(6)]
    assert [row["task"] for row in answers] == [*TASKS * 2]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1)
    assert answers[0]["probability"] == answers[0]["probabilities"][answers[0]["label"]]
    assert isinstance(answers[2]["value"], float)


def test_without_output_the_answers_are_printed(run: Path, asked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    mtlora("predict", run, "--input", asked, "--output", out)

    assert events(mtlora("predict", run, "--input", asked)) == rows(out)


def test_task_is_the_default_of_lines_that_name_none(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n{"text": "a", "task": "toy1"}\n')

    found = events(mtlora("predict", run, "--input", path, "--task", "toy0"))

    assert [row["task"] for row in found] == ["toy0", "toy1"]


def test_a_file_with_bad_lines_leaves_the_old_output_as_it_was(
    run: Path, asked: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    with asked.open("a") as stream:
        stream.write('{"text": "a", "task": "toy9"}\nnonsense\n')

    done = mtlora("predict", run, "--input", asked, "--output", out)

    assert done.exit_code == 2
    assert [line.split(" ")[1] for line in done.stderr.splitlines() if "mtlora:" in line] == [
        f"{asked}:7:",
        f"{asked}:8:",
    ]
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "out.jsonl"}


def test_an_unknown_task_is_told_the_nearest_one(run: Path) -> None:
    done = mtlora("predict", run, "a", "--task", "tyo1")

    assert done.exit_code == 2
    assert "mtlora: --task: unknown task 'tyo1'; did you mean 'toy1'?" in done.stderr


def test_the_input_is_never_overwritten(run: Path, asked: Path, tmp_path: Path) -> None:
    before = asked.read_text()
    link = tmp_path / "link.jsonl"
    link.symlink_to(asked)

    for output in (asked, link):
        done = mtlora("predict", run, "--input", asked, "--output", output)

        assert done.exit_code == 2
        assert "is the input" in done.stderr
    assert asked.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give a TEXT"),
        (["a", "--input", "in.jsonl"], "give a TEXT"),
        (["a", "--output", "out.jsonl"], "--output goes with --input"),
        (["--input", "in.jsonl", "--pair", "b"], "--pair goes with TEXT"),
        (["--image", "a.png", "--pair", "b"], "--pair goes with TEXT"),
        (["a", "--image", "a.png"], "give a TEXT, or --image FILE"),
        (["--image", "a.png", "--output", "out.jsonl"], "--output goes with --input"),
        (["--image", "gone.png"], "--image: there is no picture gone.png"),
        (["--input", "in.jsonl", "--output", "."], "is a folder"),
        (["--input", "in.jsonl", "--output", "gone/out.jsonl"], "there is no folder gone"),
        (["--input", "gone.jsonl"], "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Path, arguments: list[str], reason: str) -> None:
    done = mtlora("predict", run, *arguments)

    assert done.exit_code == 2
    assert reason in done.stderr


@pytest.mark.parametrize("command", [["evaluate"], ["predict"]])
def test_a_folder_that_is_no_run_is_one_line(command: list[str], tmp_path: Path) -> None:
    done = mtlora(*command, tmp_path, *(["a"] if command == ["predict"] else []))

    assert done.exit_code == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("mtlora:")]) == 1


@pytest.mark.parametrize("command", [["evaluate"], ["predict"]])
def test_a_device_that_is_not_there_is_one_line(command: list[str], run: Path) -> None:
    text = ["a"] if command == ["predict"] else []

    done = mtlora(*command, run, *text, "--device", "nowhere")

    assert done.exit_code == 2
    assert "nowhere" in done.stderr
