"""Some of the tasks: nested draws that no other seed moves."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from toys import toy_recipe, toy_registry

from mtlora_core.compose import load_tasks
from mtlora_core.errors import DataError, RecipeError
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.run import describe, run


def plan_of(count: int | None, seed: int = 0, **changes: Any) -> Plan:
    subset = None if count is None else {"count": count, "seed": seed}
    tasks = {"use": "toy", "count": 9, "train": 8}
    return resolve(
        load_recipe(toy_recipe(**{"tasks": tasks, **changes, "subset": subset})), toy_registry()
    )


def drawn(count: int | None, seed: int = 0, **changes: Any) -> list[str]:
    return [each.task.name for each in load_tasks(plan_of(count, seed, **changes))]


def test_a_smaller_draw_lies_within_a_larger_one_in_the_order_of_the_tasks() -> None:
    whole = drawn(None)
    draws = [drawn(count) for count in range(1, 10)]

    assert [len(each) for each in draws] == list(range(1, 10))
    for smaller, larger in pairwise(draws):
        assert set(smaller) < set(larger)
    assert all(each == [name for name in whole if name in each] for each in draws)
    assert draws[-1] == whole


def test_the_draw_is_that_of_its_own_seed_whatever_the_recipes() -> None:
    recipes = [plan_of(4).recipe.model_copy(update={"seed": seed}) for seed in (0, 7)]
    names = [[e.task.name for e in load_tasks(resolve(r, toy_registry()))] for r in recipes]

    assert names[0] == names[1]
    assert len({tuple(drawn(4, seed)) for seed in range(8)}) > 4


def test_other_tasks_change_no_tasks_place_in_line() -> None:
    fewer = {"use": "toy", "count": 7, "train": 8}

    both = {f"toy{i}" for i in range(7)}
    line = [set(drawn(count)) for count in range(1, 10)]
    order = [name for a, b in pairwise([set(), *line]) for name in b - a]
    expected = [name for name in order if name in both]
    assert [set(drawn(n, tasks=fewer)) for n in range(1, 8)] == [
        set(expected[:n]) for n in range(1, 8)
    ]


def test_more_tasks_than_there_are_is_an_error() -> None:
    with pytest.raises(DataError, match=r"subset\.count: 10 is more than the 9 tasks there are"):
        drawn(10)


def test_a_subset_has_a_count_of_at_least_one() -> None:
    with pytest.raises(RecipeError, match=r"subset\.count: should be greater than 0"):
        plan_of(0)


def test_the_resolved_recipe_says_which_and_gives_them_again(tmp_path: Path) -> None:
    written = plan_of(3, 5).to_json()

    assert written["subset"] == {"count": 3, "seed": 5}
    again = resolve(load_recipe(written), toy_registry())
    assert [e.task.name for e in load_tasks(again)] == drawn(3, 5)
    assert plan_of(None).to_json()["subset"] is None


def test_a_run_learns_and_reports_the_subset(tmp_path: Path) -> None:
    plan = plan_of(2, train={"steps": 2, "batch_size": 4})

    assert list(describe(plan)["tasks"]) == drawn(2)
    *_, last = run(plan, tmp_path / "run", device="cpu")
    assert list(last["test"]) == drawn(2)
    assert last["memory"] > 1 << 20
    assert 0 < last["training_seconds"] <= last["seconds"]
