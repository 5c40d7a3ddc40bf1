"""What a run tells of itself while it goes on, is killed, and goes on again."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ablations import begin, finish, record

from mtlora_core.history import History, history_of, state_of
from mtlora_core.runfolder import RunFolder


def test_a_run_that_goes_on_is_read_piece_by_piece(tmp_path: Path) -> None:
    home = RunFolder(tmp_path)
    history = History(home.metrics)
    assert (history.update().step, history.steps, history.curve) == (0, None, [])

    record(home, event="started", steps=9)
    record(home, event="step", step=1, loss=0.5)
    with home.metrics.open("a") as stream:
        stream.write('{"event": "step", "st')
    assert (history.update().step, history.steps) == (1, 9)

    with home.metrics.open("a") as stream:
        stream.write('ep": 2, "loss": 0.25}\n')
    record(home, event="evaluated", step=2, mean=0.75)
    assert (history.update().step, history.last["loss"], history.curve) == (2, 0.25, [(2, 0.75)])
    assert history.finished is None


def test_what_was_cut_back_is_forgotten(tmp_path: Path) -> None:
    home = RunFolder(tmp_path)
    record(home, event="evaluated", step=1, mean=0.5)
    size = home.metrics_size()
    record(home, event="evaluated", step=2, mean=0.75)
    history = history_of(home)

    home.cut_metrics(size)

    assert history.update().curve == [(1, 0.5)]


def test_what_was_cut_back_and_grew_again_is_read_anew(tmp_path: Path) -> None:
    home = RunFolder(tmp_path)
    record(home, event="evaluated", step=1, mean=0.5)
    history = history_of(home)
    home.metrics.write_text(json.dumps({"event": "step", "step": 1, "padding": "x" * 99}) + "\n")

    history.update()

    assert history.update().curve == []
    assert history.step == 1


def test_the_validation_is_that_of_the_weights_that_are_kept(tmp_path: Path) -> None:
    home = RunFolder(tmp_path)
    assert history_of(home).validation("best") is None
    for step, mean in enumerate((-0.5, -0.25, -0.75)):
        record(home, event="evaluated", step=step, mean=mean)

    assert history_of(home).validation("best") == -0.25
    assert history_of(home).validation("last") == -0.75


def test_the_states_of_a_run(tmp_path: Path) -> None:
    homes = {name: RunFolder(tmp_path / name) for name in ("none", "begun", "held", "done")}
    begin(homes["begun"])
    begin(homes["held"])
    finish(homes["done"])

    with homes["held"].held():
        states = {name: state_of(home) for name, home in homes.items()}

    assert states == {"none": "new", "begun": "unfinished", "held": "running", "done": "finished"}


def test_what_is_not_finite_is_null_in_the_metrics(tmp_path: Path) -> None:
    home = RunFolder(tmp_path)
    home.record({"event": "step", "gradient_norm": math.inf, "losses": {"a": math.nan, "b": 0.5}})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    line = json.loads(home.metrics.read_text(), parse_constant=refuse)
    assert line == {"event": "step", "gradient_norm": None, "losses": {"a": None, "b": 0.5}}
