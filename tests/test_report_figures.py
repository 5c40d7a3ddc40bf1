"""How figures are laid out: axes, whiskers, and marks that can be told apart."""

from __future__ import annotations

import pytest

from mtlora_core.report.axis import Axis, spanning, written
from mtlora_core.report.forest import Datum, forest, small
from mtlora_core.report.plot import Dot, Plot
from mtlora_core.report.scene import Label, Line, Mark, Panel, fitted, pattern, printable, sheet


def datum(value: float, low: float | None = None, high: float | None = None) -> Datum:
    return Datum(0, "1", "row", value, low, high, "told")


def whiskers(panel: Panel) -> list[Line]:
    return [s for s in panel.shapes if isinstance(s, Line) and s.style == "interval"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (-0.013, 0.051, ["0.00", "0.02", "0.04"]),
        (0.8121, 0.8139, ["0.8125", "0.8130", "0.8135"]),
        (0, 600, ["0", "200", "400", "600"]),
        (-2, 2, ["−2", "−1", "0", "1", "2"]),
    ],
)
def test_ticks_are_round_and_have_the_decimals_they_need(
    low: float, high: float, expected: list[str]
) -> None:
    assert written(Axis(low, high, 0, 100).ticks()) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (90e3, 30e6, ["100k", "1M", "10M"]),
        (400, 1200, ["500", "1000"]),
        (900, 12_000, ["1k", "10k"]),
        (120e3, 180e3, ["120k", "140k", "160k", "180k"]),
    ],
)
def test_logarithmic_ticks_are_few_and_at_least_two(
    low: float, high: float, expected: list[str]
) -> None:
    assert written(Axis(low, high, 0, 1, logarithmic=True).ticks()) == expected


def test_a_logarithmic_axis_has_equal_factors_equally_far_apart() -> None:
    axis = Axis(1, 100, 0, 200, logarithmic=True)

    assert [axis.place(value) for value in (1, 10, 100)] == pytest.approx([0, 100, 200])


@pytest.mark.parametrize("values", [[0.5], [0.0], [-3.0, -3.0], [1e-9, 2e-9]])
def test_an_axis_has_room_whatever_the_values(values: list[float]) -> None:
    axis = spanning(values, 0, 100)

    assert all(0 < axis.place(value) < 100 for value in values)
    assert len(axis.ticks()) > 1


def test_an_interval_that_leaves_the_axis_ends_in_an_arrow() -> None:
    panel = forest([datum(0.5, -40.0, 41.0), datum(0.51, 0.505, 0.515)])

    lines = whiskers(panel)
    assert all(0 <= x <= panel.width for line in lines for x, _ in line.points)
    ends = [line.points for line in lines if len(line.points) == 3]
    assert [len({x for x, _ in points}) for points in ends] == [2, 2, 1, 1]


def test_intervals_that_are_alike_are_whole_however_near_the_values() -> None:
    panel = forest([datum(0.5, 0.4, 0.6), datum(0.501, 0.42, 0.582), datum(0.502, 0.37, 0.634)])

    ends = [line.points for line in whiskers(panel) if len(line.points) == 3]
    assert all(len({x for x, _ in points}) == 1 for points in ends)  # bars, no arrow


def test_without_an_interval_there_is_a_mark_alone() -> None:
    panel = forest([datum(0.5)])

    assert whiskers(panel) == []
    assert len([s for s in panel.shapes if isinstance(s, Mark)]) == 1


def test_further_right_is_more() -> None:
    marks = [s for s in small([datum(0.5), datum(0.6)], "t", "m").shapes if isinstance(s, Mark)]

    assert marks[0].at[0] < marks[1].at[0]


def test_higher_is_more_and_only_joined_dots_have_a_line() -> None:
    dots = {0: [Dot(1, 0.5, "a"), Dot(2, 0.6, "b")]}
    for joined in (False, True):
        shapes = Plot("x", "y", joined=joined).panel(dots).shapes
        low, high = [s.at for s in shapes if isinstance(s, Mark)]
        assert low[0] < high[0]
        assert low[1] > high[1]
        assert any(isinstance(s, Line) and s.style == "curve" for s in shapes) == joined


def test_rows_are_told_apart_without_colour() -> None:
    looks = [(own.shape, own.colour, tuple(own.dashes)) for own in map(pattern, range(56))]
    near = [(own.shape, tuple(own.dashes)) for own in map(pattern, range(7))]

    assert len({*looks}) == 56
    assert len({shape for shape, _ in near}) == 7


def test_panels_stand_in_lines_without_touching() -> None:
    panels = [Panel(10, height, [Label((1, 1), str(height))]) for height in (5, 8, 3)]

    whole = sheet(panels, 2)

    assert (whole.width, whole.height) == (20, 11)
    assert [shape.at for shape in whole.shapes if isinstance(shape, Label)] == [
        (1, 1),
        (11, 1),
        (1, 9),
    ]


def test_text_is_cut_with_an_ellipsis_and_has_no_control_characters() -> None:
    assert fitted("short", 100) == "short"
    assert len(fitted("x" * 100, 100)) < 20
    assert fitted("x" * 100, 100)[-1] == "…"
    assert printable("a\nb\x07c\ud800") == "a b�c�"
