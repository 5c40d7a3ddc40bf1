"""What tables and lines show, and that they fit on a screen."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cli_events import TASKS, finished, score_row, task_row
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from mtlora_core.cli import figures, render


def drawn(renderable: RenderableType) -> list[str]:
    """Return the lines of ``renderable`` on a screen of 80 columns."""
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(renderable)
    return stream.getvalue().splitlines()


def evaluated(**changes: Any) -> dict[str, Any]:
    return {
        "split": "validation",
        "tasks": {name: score_row() for name in TASKS},
        "mean": 0.7,
        **changes,
    }


def described(**changes: Any) -> dict[str, Any]:
    part = {"kind": "experts", "package": "mtlora-experts", "version": "0.1.0"}
    site = {"kind": "block", "d": 384, "o": 768}
    return {
        "parts": [{"path": "experts", "name": "hydra", "options": {"rank": 16}, **part}],
        "sites": [{"name": f"layer{i}_ffn", **site} for i in range(6)],
        "parameters": {"trainable": 713_121, "total": 23_426_337},
        "rows_kept": [],
        "rows": {"tasks": 8, "parameters": 147_456},
        "tasks": {name: task_row() for name in TASKS},
        "steps": 400,
        **changes,
    }


def prediction(task: str = TASKS[0], **changes: Any) -> Mapping[str, Any]:
    probabilities = {"yes": 0.6, "no": 0.25, "perhaps": 0.1, "later": 0.04, "never": 0.01}
    return {
        "task": task,
        "label": "yes",
        "probability": 0.6,
        "probabilities": probabilities,
        **changes,
    }


RATES = {"rate": 0.314, "low": 0.28, "high": 0.36}


def test_a_run_that_measured_conflicts_tells_their_rate_in_a_line() -> None:
    unknown = {"rate": None, "low": None, "high": None}
    found = {"measurements": 1, "pairs": 28, "global": RATES, "matrices": unknown}

    shown = render.conflicts(finished(conflicts=found))

    assert str(shown) == (
        "conflicts       0.31 [0.28, 0.36] of pairs of tasks, – of their matrices; 1 measured step"
    )
    assert render.conflicts(finished()) is None


TABLES: Mapping[str, Callable[[], RenderableType]] = {
    "results": lambda: render.results(finished()),
    "scores": lambda: render.scores(evaluated()),
    "plan": lambda: render.plan(described()),
    "predictions": lambda: render.predictions([prediction(name) for name in TASKS]),
}


@pytest.mark.parametrize("name", TABLES)
def test_eight_tasks_of_twenty_characters_fit_in_eighty_columns(name: str) -> None:
    lines = drawn(TABLES[name]())

    assert max(map(cell_len, lines)) <= 80
    for task in TASKS:  # each whole, in a line of its own
        assert sum(task in line for line in lines) == 1


def test_a_task_of_a_longer_name_is_folded_and_not_cut() -> None:
    name = "a-task-whose-name-is-far-longer-than-most"
    lines = drawn(render.results(finished([name, "b"])))

    column = "".join(line[:24].split(" ")[0] for line in lines)
    assert name in column
    assert max(map(cell_len, lines)) <= 80


def test_a_row_has_the_score_its_interval_and_every_baseline() -> None:
    row = score_row(value=0.1, low=0.2, high=0.3, majority=0.4, tfidf=0.5, heads=0.6)
    lines = drawn(render.results(finished(test={"toy": row})))

    found = next(line for line in lines if line.startswith("toy")).split()
    assert found == ["toy", "accuracy", "0.400", "0.500", "0.600", "0.100", "[0.200,", "0.300]"]


def test_the_last_row_is_the_mean_over_tasks() -> None:
    lines = drawn(render.results(finished()))

    assert lines[-1].split() == ["mean", "0.400", "0.650", "0.700", "0.712"]


def test_a_baseline_that_a_task_does_not_have_leaves_a_dash() -> None:
    row = score_row()
    del row["tfidf"]
    mean = {"model": 0.712, "majority": 0.4, "heads": 0.7}
    test = {"toy": row, "other": score_row()}
    lines = drawn(render.results(finished(test=test, mean=mean)))

    for name in ("toy", "mean"):
        assert figures.UNKNOWN in next(line for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({"value": 0.9}, ["0.900"]),
        ({"heads": 0.9}, ["0.900"]),
        ({"heads": 0.8, "value": 0.80004}, ["0.800", "0.800"]),
        ({"value": -0.5, "heads": -0.7, "tfidf": -0.6, "majority": -0.9}, ["-0.500"]),
    ],
)
def test_the_best_of_a_row_is_marked(scores: Mapping[str, float], best: list[str]) -> None:
    table = render.results(finished(test={"toy": score_row(**scores)}))

    first = [next(iter(column.cells)) for column in table.columns]
    marked = [cell for cell in first if isinstance(cell, Text) and cell.style == render.BEST]
    assert [cell.plain for cell in marked] == best


def test_an_error_that_counts_with_its_sign_changed_says_so() -> None:
    rows = {"toy": score_row(metric="mse", value=-1.5)}

    assert "-mse" in " ".join(drawn(render.results(finished(test=rows))))
    assert "-mse" in " ".join(drawn(render.scores(evaluated(tasks=rows))))


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    name = "[bold]x[/red]"

    assert any(name in line for line in drawn(render.results(finished([name]))))
    assert any(name in line for line in drawn(render.predictions([prediction(name)])))
    assert any(name in line for line in drawn(render.plan(described(tasks={name: task_row()}))))


def test_one_line_has_the_best_validation_where_the_test_split_was_left_alone() -> None:
    line = render.mean(finished([], mean={}, best_mean=0.8125, best_step=1_200))

    assert line == "validation 0.812 at step 1,200; the test split was left alone"


def test_one_line_has_every_mean() -> None:
    line = render.mean(finished())

    assert line == "mean 0.712 (heads only 0.700, TF-IDF 0.650, majority 0.400)"


def test_a_plan_shows_parts_options_sites_parameters_and_steps() -> None:
    shown = " ".join(drawn(render.plan(described())))

    for text in ("hydra", "mtlora-experts 0.1.0", "rank 16", "6 blocks, 384 → 768", "layer5_ffn"):
        assert text in shown
    assert "713,121 of 23,426,337" in shown
    assert "400" in shown


def test_a_plan_shows_what_keeping_the_gradients_of_all_tasks_takes() -> None:
    kept = ["scope: global", "train.accumulate: 4"]
    shown = " ".join(" ".join(drawn(render.plan(described(rows_kept=kept)))).split())

    assert "task gradients 4.7 MB kept in a step, 8 tasks × 147,456 parameters, for" in shown
    assert "for scope: global and train.accumulate: 4" in shown
    assert "task gradients" not in " ".join(drawn(render.plan(described())))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(4, "rank 4"), (True, "rank true"), (["a", "b"], "rank [a, b]"), (1e-4, "rank 0.0001")],
)
def test_changing_an_option_changes_the_printed_plan(value: object, shown: str) -> None:
    part = {**described()["parts"][0], "options": {"rank": value, "left": None}}

    lines = drawn(render.parts([part], options=True))

    assert lines[1].strip() == shown


def test_sites_of_different_widths_have_a_line_each() -> None:
    sites = [
        {"name": "layer0_q", "kind": "projection", "d": 8, "o": 8},
        {"name": "layer0_v", "kind": "projection", "d": 8, "o": 4},
        {"name": "layer1_q", "kind": "projection", "d": 8, "o": 8},
    ]

    lines = [" ".join(line.split()) for line in drawn(render.sites(sites))]

    assert lines == [
        "sites 1 projection, 8 → 4: layer0_v",
        "sites 2 projections, 8 → 8: layer0_q … layer1_q",
    ]


def test_a_prediction_shows_the_label_and_the_next_likely_ones() -> None:
    lines = drawn(render.predictions([prediction("toy")]))

    assert lines[-1].split() == [
        "toy",
        "yes",
        "0.60",
        "no",
        "0.25,",
        "perhaps",
        "0.10,",
        "later",
        "0.04",
    ]


def test_a_number_is_shown_for_regression() -> None:
    lines = drawn(render.predictions([{"task": "toy", "value": 2.5}]))

    assert lines[-1].split() == ["toy", "2.500"]


def test_the_table_of_an_evaluation_names_the_split_and_the_number_of_examples() -> None:
    lines = drawn(render.scores(evaluated()))

    assert "validation" in lines[0]
    assert "3,000" in lines[2]
    assert lines[-1].split() == ["mean", "0.700"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.score(0.71249), "0.712"),
        (figures.score(None), "–"),
        (figures.interval(0.1, 0.25), "[0.100, 0.250]"),
        (figures.interval(None, None), "–"),
        (figures.share(713_121, 23_426_337), "3.0 %"),
        (figures.memory(4_718_592), "4.7 MB"),
        (figures.memory(4_800_000_000), "4.8 GB"),
        (figures.share(75_497_472, 6_800_000_000), "1.1 %"),
        (figures.share(1, 3000), "0.033 %"),
        (figures.rate(950.4), "950"),
        (figures.rate(8123.4), "8.1k"),
        (figures.rate(1_240_000), "1.2M"),
        (figures.duration(7), "0:07"),
        (figures.duration(83), "1:23"),
        (figures.duration(7380), "2:03:00"),
        (figures.duration(None), "–"),
        (figures.amount(1, "site"), "1 site"),
        (figures.amount(1200, "site"), "1,200 sites"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected
