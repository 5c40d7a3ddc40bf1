"""Conflicts between tasks: what a measured step records and learns, and the rates of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from taskrows import clear, collector, model_of, separate, task_losses
from torch import Tensor
from torch.nn.functional import cosine_similarity
from toys import toy_recipe, toy_registry

from mtlora_core.compose import compose, load_tasks
from mtlora_core.conflicts import conflict_rates
from mtlora_core.errors import RecipeError
from mtlora_core.load import load, plan_of
from mtlora_core.model import MultiTaskModel
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.run import run
from mtlora_core.runfolder import RunFolder
from mtlora_core.train import fit
from mtlora_core.train.gradients import conflicts
from mtlora_core.train.gradients.conflicts import cosines

REGISTRY = toy_registry()
EVERY = {"conflicts": {"every": 1}}
TRAIN: dict[str, Any] = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "evaluate_every": 100}
HYDRA = {"use": "hydra", "count": 4, "rank": 4, "alpha": 16, "dropout": 0.0}
LISTED: dict[str, Any] = {"experts": {"use": "multilora", "rank": 2}, "router": None}

Record = Mapping[str, Any]


def plan_with(**changes: Any) -> Plan:
    whole = {"experts": HYDRA, **changes, "train": {**TRAIN, **changes.get("train", {})}}
    return resolve(load_recipe(toy_recipe(**whole)), REGISTRY)


def trained(plan: Plan) -> tuple[MultiTaskModel, list[Record]]:
    data = load_tasks(plan)
    model = compose(plan, data)
    recipe = plan.recipe
    found = fit(model, data, recipe.train, seed=recipe.seed, device="cpu", measure=recipe.measure)
    return model, [each for each in found if each["event"] == "step"]


def largest_difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


# A measured step


def measured(model: MultiTaskModel, *forwards: Sequence[int]) -> dict[str, Any]:
    """Return what one backward pass a forward says of conflicts."""
    clear(model)
    tasks = sorted({task for ids in forwards for task in ids})
    rows = collector(model, tasks, forwards=len(forwards))
    with rows.collecting():
        for number, ids in enumerate(forwards):
            torch.manual_seed(number)
            torch.stack([*task_losses(model, ids, number).values()]).sum().backward()
    rows.finish()
    found = conflicts(model.adapters, rows.gramians, tasks)
    assert found is not None
    return found


def by_hand(rows: Sequence[Tensor]) -> list[float]:
    """Return the cosines of every two tasks' gradients over some parameters."""
    flat = torch.cat([each.flatten(1) for each in rows], 1)
    return [float(cosine_similarity(a, b, dim=0)) for a, b in combinations(flat, 2)]


@pytest.mark.parametrize("parts", [{}, LISTED], ids=["segmented", "once a task"])
@pytest.mark.parametrize("forwards", [([0, 0, 1, 3, 3],), ([0, 1, 1], [1, 3, 3, 3])], ids=str)
def test_cosines_are_those_of_a_backward_pass_a_task(
    parts: dict[str, Any], forwards: tuple[list[int], ...]
) -> None:
    recipe = toy_recipe(regularizers=[], **parts)
    model = model_of(recipe, REGISTRY, torch.float64)
    rows = separate(model, forwards)

    found = measured(model, *forwards)

    def close(level: Record, wanted: Sequence[str]) -> None:
        assert level["cosines"] == pytest.approx(by_hand([rows[n] for n in wanted]), rel=6e-3)
        negative = [cosine < 0 for cosine in by_hand([rows[n] for n in wanted])]
        assert level["rate"] == pytest.approx(sum(negative) / len(negative), rel=6e-3)

    assert found["tasks"] == ["first", "second", "fourth"]
    close(found["global"], [*rows])
    assert {*found["layers"]} == {"0", "1"}
    for layer, level in found["layers"].items():
        close(level, [name for name in rows if name.startswith(f"layer{layer}_")])
    for kind, level in found["kinds"].items():
        close(level, [name for name in rows if f".{kind}" in name])
    signs = torch.tensor([[c < 0 for c in by_hand([each])] for each in rows.values()]).double()
    assert found["matrices"]["shares"] == pytest.approx(signs.mean(0).tolist(), rel=6e-3)
    assert found["matrices"]["rate"] == pytest.approx(float(signs.mean()), rel=6e-3)


def test_parameters_are_of_kinds_by_their_names() -> None:
    fine = measured(model_of(toy_recipe(regularizers=[]), REGISTRY, torch.float64), [0, 1])
    listed = measured(
        model_of(toy_recipe(regularizers=[], **LISTED), REGISTRY, torch.float64), [0, 1]
    )

    assert {*fine["kinds"]} == {"experts.down", "experts.up", "router.weight"}
    assert {*listed["kinds"]} == {"experts.down", "experts.up", "experts.output_scale"}


def test_a_cosine_with_nothing_is_unknown_and_counts_for_nothing() -> None:
    gramian = torch.tensor([[1.0, 0, -1], [0, 0, 0], [-1, 0, 4]]).double()

    torch.testing.assert_close(
        cosines(gramian), torch.tensor([torch.nan, -0.5, torch.nan]).double(), equal_nan=True
    )


def test_of_fresh_experts_only_b_has_conflicts() -> None:
    _, steps = trained(plan_with(measure=EVERY, regularizers=[], train={"steps": 1}))

    kinds = steps[0]["conflicts"]["kinds"]
    assert kinds["experts.down"]["rate"] is None
    assert {*kinds["experts.down"]["cosines"]} == {None}
    assert kinds["experts.up"]["rate"] is not None
    # The matrices that have none do not dilute the rate of those that have.
    up = [cosine < 0 for cosine in kinds["experts.up"]["cosines"]]
    assert sum(up) == 0 or steps[0]["conflicts"]["matrices"]["rate"] > 0


@pytest.mark.parametrize("regularizers", [[], ["spectral-aware", {"use": "balance", "weight": 9}]])
@pytest.mark.parametrize("parts", [{}, {"router": "task"}, {"experts": "mtl"}], ids=str)
@pytest.mark.parametrize("train", [{}, {"accumulate": 2}, {"checkpointing": True}], ids=str)
def test_a_measured_step_learns_what_it_would_without(
    regularizers: list[Any], parts: dict[str, Any], train: dict[str, Any]
) -> None:
    plans = [
        plan_with(measure=how, regularizers=regularizers, train=train, **parts)
        for how in ({}, EVERY)
    ]
    (plain, _), (other, steps) = map(trained, plans)

    assert all(step["conflicts"]["tasks"] for step in steps)
    torch.testing.assert_close(other.trained_state(), plain.trained_state(), rtol=1e-3, atol=1e-5)


def test_under_a_transform_a_measured_step_is_that_step_bit_for_bit() -> None:
    surgery = ["orthogonal-gradient", "balance"]
    plain, other = (
        trained(plan_with(measure=how, regularizers=surgery))[0].trained_state()
        for how in ({}, EVERY)
    )

    assert largest_difference(plain, other) == 0


def test_a_penalty_is_in_no_cosine() -> None:
    with_, without = (
        trained(plan_with(measure=EVERY, regularizers=each, train={"steps": 1}))[1][0]
        for each in ([{"use": "balance", "weight": 1e3}], [])
    )

    assert with_["conflicts"] == without["conflicts"]
    assert with_["gradient_norm"] != without["gradient_norm"]


def test_steps_are_measured_every_so_often_and_never_unless_asked() -> None:
    _, steps = trained(plan_with(measure={"conflicts": {"every": 3}}, train={"steps": 7}))
    _, plain = trained(plan_with())
    _, surgery = trained(plan_with(regularizers=["orthogonal-gradient"]))

    assert [step["step"] for step in steps if "conflicts" in step] == [3, 6]
    assert not any("conflicts" in step for step in [*plain, *surgery])


def test_absent_tasks_are_left_out_and_one_task_has_no_pair() -> None:
    train = {"batch_size": 2, "steps": 12}
    _, steps = trained(plan_with(measure=EVERY, train=train))

    found = {len(step["losses"]): step.get("conflicts") for step in steps}
    assert found[2] is not None
    assert len(found[2]["tasks"]) == 2
    assert len(found[2]["global"]["cosines"]) == 1
    assert 1 not in found or found[1] is None


def test_cosines_have_three_digits() -> None:
    _, steps = trained(plan_with(measure=EVERY))

    cosines_ = steps[-1]["conflicts"]["global"]["cosines"]
    assert all(value == float(f"{value:.3g}") for value in cosines_)
    assert json.loads(json.dumps(steps[-1]["conflicts"])) == steps[-1]["conflicts"]


# A recipe


def test_fifty_steps_are_between_measurements_unless_a_recipe_says_otherwise() -> None:
    recipe = load_recipe(toy_recipe(measure={"conflicts": {}}))

    assert recipe.measure.conflicts is not None
    assert recipe.measure.conflicts.every == 50
    assert load_recipe(toy_recipe()).measure.conflicts is None
    assert load_recipe(recipe.to_json()).measure == recipe.measure


def test_what_cannot_be_measured_is_told() -> None:
    with pytest.raises(RecipeError, match=r"measure\.conflicts\.every: .* greater than 0"):
        load_recipe(toy_recipe(measure={"conflicts": {"every": 0}}))
    with pytest.raises(RecipeError, match=r"measure\.conflict: .*did you mean 'conflicts'"):
        load_recipe(toy_recipe(measure={"conflict": {}}))


def test_the_plan_says_where_measuring_keeps_the_rows_of_all_tasks() -> None:
    assert plan_with(measure=EVERY, regularizers=[]).rows_kept() == ()
    kept = plan_with(measure=EVERY, regularizers=[], train={"accumulate": 2}).rows_kept()
    assert kept == ("train.accumulate: 2",)
    assert plan_with(regularizers=[], train={"accumulate": 2}).rows_kept() == ()


# The rates of a run


def record(tasks: str, *cosines_: float | None) -> Record:
    level = {"rate": None, "cosines": [*cosines_]}
    shares = [None if c is None else float(c < 0) / 2 for c in cosines_]
    return {
        "event": "step",
        "conflicts": {
            "tasks": tasks.split(),
            "global": level,
            "layers": {"0": level},
            "kinds": {"experts.up": level},
            "matrices": {"rate": None, "shares": shares},
        },
    }


def test_the_rate_is_the_share_of_negative_cosines_over_measurements_and_pairs() -> None:
    records = [
        {"event": "started"},
        record("a b c", -0.1, 0.2, None),
        record("a c", 0.3),
        record("a b c", -0.1, -0.2, 0.3),
    ]

    rates = conflict_rates(records)

    assert (rates["measurements"], rates["pairs"]) == (3, 3)
    assert rates["global"]["rate"] == pytest.approx(3 / 6)
    assert rates["layers"]["0"] == rates["kinds"]["experts.up"] == rates["global"]
    assert rates["matrices"]["rate"] == pytest.approx(1.5 / 6)
    assert rates["global"]["low"] < 0.5 < rates["global"]["high"]
    assert conflict_rates([{"event": "step"}]) == {}


def test_a_rate_of_nothing_is_unknown() -> None:
    assert conflict_rates([record("a b", None)])["global"] == {
        "rate": None,
        "low": None,
        "high": None,
    }


def test_the_interval_covers_the_rate_of_other_steps_and_other_pairs() -> None:
    """Tables whose cells have chances by row and by column, as measurements and pairs have."""
    names = [f"t{i}" for i in range(5)]
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for seed in range(60):
        by_step = 0.5 * torch.randn(25, 1, generator=generator)
        by_pair = 0.5 * torch.randn(1, 10, generator=generator)
        noise = torch.randn(25, 10, generator=generator)
        values = by_step + by_pair + noise
        rates = conflict_rates(
            [record(" ".join(names), *row) for row in values.tolist()], seed=seed
        )
        hits += rates["global"]["low"] <= 0.5 <= rates["global"]["high"]

    assert 52 <= hits <= 60


def test_intervals_come_from_the_seed_and_shrink_with_what_is_measured() -> None:
    few = [record("a b c", -0.1, 0.2, 0.3), record("a b c", -0.1, -0.2, 0.3)]

    assert conflict_rates(few, seed=1) == conflict_rates(few, seed=1)
    assert conflict_rates(few, seed=1) != conflict_rates(few * 3, seed=1)


def test_a_run_tells_its_rates_and_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    train = {"steps": 8, "evaluate_every": 4, "save_every": 2}
    plan = plan_with(measure={"conflicts": {"every": 3}}, train=train)
    whole = list(run(plan, tmp_path / "whole", device="cpu"))[-1]
    for event in run(plan, tmp_path / "broken", device="cpu"):
        if event.get("step") == 5:
            break
    again = plan_of(tmp_path / "broken", REGISTRY)
    broken = list(run(again, tmp_path / "broken", device="cpu", resume=True))[-1]

    assert whole["conflicts"]["measurements"] == 2
    assert whole["conflicts"]["global"]["rate"] is not None
    assert broken["conflicts"] == whole["conflicts"]
    assert conflict_rates(RunFolder(tmp_path / "whole").records()) == whole["conflicts"]
    states = [load(tmp_path / n, registry=REGISTRY).trained_state() for n in ("whole", "broken")]
    assert largest_difference(*states) == 0
