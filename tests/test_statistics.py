"""Intervals over seeds, held to SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mtlora_core.statistics import paired, summary

scores = st.floats(0, 1, allow_nan=False).map(lambda value: round(value, 6))


@given(st.lists(scores, min_size=2, max_size=12))
def test_mean_deviation_and_interval_are_scipys(values: list[float]) -> None:
    found = summary(values)

    assert found is not None
    assert found.count == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    if error > 1e-12:
        expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert found.low == pytest.approx(expected[0])
        assert found.high == pytest.approx(expected[1])
    else:
        assert found.half == pytest.approx(0, abs=1e-9)


@given(st.lists(st.tuples(scores, scores), min_size=2, max_size=12))
def test_paired_differences_are_scipys(pairs: list[tuple[float, float]]) -> None:
    mine, base = np.array(pairs).T
    found = paired(dict(enumerate(mine.tolist())), dict(enumerate(base.tolist())))

    assert found is not None
    assert found.mean == pytest.approx(np.mean(mine - base), abs=1e-12)
    if np.std(mine - base, ddof=1) > 1e-9:
        expected = stats.ttest_rel(mine, base).confidence_interval(0.95)
        assert found.low == pytest.approx(expected.low, abs=1e-9)
        assert found.high == pytest.approx(expected.high, abs=1e-9)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = summary([0.7])

    assert found is not None
    assert (found.mean, found.deviation, found.half, found.low, found.high) == (0.7, *[None] * 4)
    assert summary([]) is None


def test_differences_are_taken_seed_by_seed_over_those_that_both_have() -> None:
    found = paired({2: 0.5, 0: 0.9, 7: 0.1}, {0: 0.8, 1: 0.0, 2: 0.3})

    assert found is not None
    assert found.count == 2
    assert found.mean == pytest.approx(0.15)
    assert paired({0: 0.5}, {1: 0.5}) is None
