"""How a run is followed: a bar on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import io
import json
import time

import pytest
from cli_events import a_run, evaluated, started, step
from rich.console import Console

from mtlora_core.cli import progress


def followed(*, terminal: bool, pause_at: int | None = None) -> str:
    """Return all that is printed while a run is followed.

    Args:
        terminal: Whether a person looks at a screen of 80 columns.
        pause_at: The step at which there is time to look; the bar is painted ten times a second.
    """
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=terminal, force_interactive=terminal)
    with (progress.bar if terminal else progress.lines)(console) as show:
        for event in a_run():
            show(event)
            if pause_at is not None and event.get("step") == pause_at:
                time.sleep(0.5)
    return stream.getvalue()


def test_without_a_terminal_there_are_no_control_codes_and_no_repainting() -> None:
    shown = followed(terminal=False)

    assert "\x1b" not in shown
    assert "\r" not in shown
    assert len(shown.splitlines()) < 12


def test_without_a_terminal_each_evaluation_is_a_line() -> None:
    lines = followed(terminal=False).splitlines()

    found = [line for line in lines if "validation 0." in line]
    assert [line.split()[1] for line in found] == ["5/10", "10/10"]
    for text in ("loss 0.457", "8.1k tokens/s", "validation 0.550", "best"):
        assert text in found[0]


def test_lines_fit_in_eighty_columns() -> None:
    assert max(map(len, followed(terminal=False).splitlines())) <= 80


def test_the_phases_and_the_sizes_of_the_run_are_told() -> None:
    shown = followed(terminal=False)

    for text in ("reading the tasks", "runs/toy on cpu", "713,121 of 23,426,337", "96,000 train"):
        assert text in shown
    assert "56 training examples" in shown


def test_a_terminal_sees_a_bar_with_loss_throughput_and_time_left() -> None:
    shown = followed(terminal=True, pause_at=4)

    for text in ("\x1b[", "━", "step 4/10", "loss 0.250", "8.1k tokens/s", "1:23 left"):
        assert text in shown


def test_evaluations_stay_on_a_terminal_above_the_bar() -> None:
    assert followed(terminal=True).count("validation 0.550") == 1


def test_the_bar_leaves_nothing_behind() -> None:
    shown = followed(terminal=True)

    erased = "\x1b[2K"
    assert shown.rindex(erased) > shown.rindex("━")


def test_a_resumed_run_says_where_it_goes_on_and_what_has_changed() -> None:
    story = progress.Story()
    lines = [
        line.plain for line in story.lines(started(resumed_at=4, notices=["torch: was 2, is 3"]))
    ]

    assert lines[0] == "note: torch: was 2, is 3"
    assert "going on after step 4" in lines[-1]


def test_the_loss_of_an_evaluation_is_the_mean_since_the_one_before() -> None:
    story = progress.Story()
    for event in (started(), step(1, loss=9.0), evaluated(1), step(2, loss=1.0), step(3, loss=2.0)):
        list(story.lines(event))

    (line,) = story.lines(evaluated(3, best=False))

    assert "loss 1.500" in line.plain
    assert "best" not in line.plain


def test_an_evaluation_right_after_resuming_has_no_pace_to_tell() -> None:
    story = progress.Story()
    list(story.lines(started(resumed_at=10)))

    (line,) = story.lines(evaluated(10))

    assert line.plain == "step 10/10  validation 0.500  best"


def test_json_is_one_event_a_line_and_nan_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.display(json=True) as show:
        show(step(1, loss=float("nan"), losses={"toy": float("inf")}))

    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event["loss"] is None
    assert event["losses"] == {"toy": None}
    assert event["step"] == 1


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.display(quiet=True) as show:
        for event in a_run():
            show(event)

    assert capsys.readouterr() == ("", "")


def test_what_is_shown_to_a_person_leaves_standard_output_to_results(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.display() as show:
        for event in a_run():
            show(event)

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 10/10" in captured.err
