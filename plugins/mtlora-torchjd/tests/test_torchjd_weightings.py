from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torchjd.scalarization import DWA, FAMO, IMTLL, STCH, UW, GeometricMean, Random

import mtlora_torchjd
from mtlora_core.component import load
from mtlora_core.interfaces import LossWeighting, StepLosses
from mtlora_core.testing import check_weighting, components_of, described

NAMES = sorted(c.name for c in components_of(mtlora_torchjd) if c.weighs_losses)
LOSSES = [
    torch.rand(4, generator=torch.Generator().manual_seed(s)).double() + 0.1 for s in range(9)
]

each = pytest.mark.parametrize("name", NAMES)


def built(name: str, tasks: int = 4, **options: Any) -> LossWeighting:
    component = described(mtlora_torchjd, "regularizer", name)
    read = load(component.options).model_validate(options)
    weighting = load(component.build)(read, tuple(f"task{i}" for i in range(tasks)))
    assert isinstance(weighting, LossWeighting)
    return weighting


def taken(weighting: LossWeighting, steps: Sequence[Tensor], tasks: Sequence[int]) -> list[Tensor]:
    """Return the weights of steps, two of them an epoch."""
    found = []
    for number, losses in enumerate(steps):
        step = StepLosses(tuple(tasks), losses, number // 2, seed=number)
        found.append(weighting.weights(step).clone())
        weighting.after_step(step)
    return found


def weighted(name: str, **options: Any) -> list[Tensor]:
    return taken(built(name, **options), LOSSES, range(4))


def derived(scalarizer: Callable[[Tensor], Tensor], losses: Tensor) -> Tensor:
    """Return what a scalarizer multiplies the tasks' gradients by."""
    leaf = losses.clone().requires_grad_()
    (derivatives,) = torch.autograd.grad(scalarizer(leaf), leaf)
    return derivatives


@each
def test_keeps_the_contract_of_a_weighting(name: str) -> None:
    check_weighting(described(mtlora_torchjd, "regularizer", name))


# What TorchJD does over the same losses, and the factor that makes equal weights 1


def test_uncertainty_weighting_is_twice_torchjd_s() -> None:
    theirs = UW(4).double()
    adam = torch.optim.Adam(theirs.parameters(), lr=0.05)
    weights = weighted("uncertainty-weighting", learning_rate=0.05)

    for losses, actual in zip(LOSSES, weights, strict=True):
        torch.testing.assert_close(actual, 2 * derived(theirs, losses))
        adam.zero_grad()
        theirs(losses).backward()
        adam.step()


def test_uncertainty_weighting_is_imtl_l() -> None:
    theirs = IMTLL(4).double()
    adam = torch.optim.Adam(theirs.parameters(), lr=0.05)
    weights = weighted("uncertainty-weighting", learning_rate=0.05)

    for losses, actual in zip(LOSSES, weights, strict=True):
        torch.testing.assert_close(actual, derived(theirs, losses), rtol=1e-6, atol=0)
        adam.zero_grad()
        theirs(losses).backward()
        adam.step()


@pytest.mark.parametrize("every", [None, 3])
def test_dwa_is_torchjd_s(every: int | None) -> None:
    theirs = DWA(temperature=0.5)

    for number, actual in enumerate(weighted("dwa", temperature=0.5, every=every)):
        if number and number % (every or 2) == 0:
            theirs.step()
        torch.testing.assert_close(actual, derived(theirs, LOSSES[number]))


def test_famo_is_torchjd_s_where_the_next_batch_tells_what_a_step_did() -> None:
    theirs = FAMO(4, lr=0.1, weight_decay=0.01).double()

    options = {"learning_rate": 0.1, "weight_decay": 0.01}
    for number, actual in enumerate(weighted("famo", **options)):
        if number:
            theirs.update(LOSSES[number])
        torch.testing.assert_close(actual, 4 * derived(theirs, LOSSES[number]))


def test_the_geometric_mean_and_the_smooth_maximum_are_torchjd_s() -> None:
    means, maxima = weighted("geometric-mean"), weighted("stch", mu=0.2)
    for losses, mean, most in zip(LOSSES, means, maxima, strict=True):
        torch.testing.assert_close(mean, 4 * derived(GeometricMean(), losses))
        torch.testing.assert_close(most, 16 * derived(STCH(0.2), losses))


def test_random_weights_are_torchjd_s_from_the_step_s_seed() -> None:
    for seed, actual in enumerate(weighted("random-weighting")):
        torch.manual_seed(seed)
        torch.testing.assert_close(actual, 4 * derived(Random(), LOSSES[seed]))


# Meaning


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random-weighting"])
def test_begins_with_joint_training_where_losses_are_equal(name: str) -> None:
    (actual,) = taken(built(name), [torch.full((4,), 0.7).double()], range(4))

    torch.testing.assert_close(actual, torch.ones(4).double())
    if name in ("uncertainty-weighting", "dwa"):
        assert torch.equal(actual, torch.ones(4).double())


@pytest.mark.parametrize("name", ["famo", "stch", "random-weighting"])
def test_the_weights_of_a_mean_have_a_mean_of_one(name: str) -> None:
    for actual in weighted(name):
        assert actual.sum().item() == pytest.approx(4)


def test_uncertainty_goes_to_the_inverse_of_the_loss() -> None:
    losses = torch.tensor([0.25, 1.0, 2.0, 4.0]).double()
    *_, last = taken(built("uncertainty-weighting", learning_rate=0.05), [losses] * 400, range(4))

    torch.testing.assert_close(last, 1 / losses, rtol=1e-2, atol=0)


def test_dwa_favours_the_task_that_falls_least() -> None:
    falls = torch.tensor([0.5, 1.0, 0.9, 0.8]).double()
    steps = [torch.ones(4).double() * falls**i for i in range(3)]
    *_, last = taken(built("dwa", every=1), steps, range(4))

    assert last.argsort().tolist() == falls.argsort().tolist()
    assert last.sum().item() == pytest.approx(4)


def test_famo_favours_the_task_that_falls_least() -> None:
    falls = torch.tensor([0.5, 1.0, 0.9, 0.8]).double()
    steps = [torch.ones(4).double() * falls**i for i in range(10)]
    *_, last = taken(built("famo"), steps, range(4))

    assert (last * steps[-1]).argsort().tolist() == falls.argsort().tolist()


# Absent tasks


@pytest.mark.parametrize("name", ["uncertainty-weighting", "famo"])
def test_of_an_absent_task_all_stays(name: str) -> None:
    weighting = built(name, 6)
    taken(weighting, [torch.rand(6).double() for _ in range(3)], range(6))
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    taken(weighting, LOSSES, [0, 2, 3, 5])

    for key, value in weighting.state_dict().items():
        assert torch.equal(value[[1, 4]], before[key][[1, 4]])
        assert not torch.equal(value, before[key])


@each
def test_the_tasks_that_are_there_are_weighed_as_if_there_were_no_others(name: str) -> None:
    if name == "dwa":
        return  # its weights add up over all tasks; below
    whole = weighted(name)
    some = taken(built(name, 6), LOSSES, [0, 2, 3, 5])

    for before, now in zip(whole, some, strict=True):
        torch.testing.assert_close(now, before)


def test_dwa_averages_over_the_steps_that_had_a_task() -> None:
    weighting = built("dwa", 3, every=2)
    first, second = torch.tensor([1.0, 1.0]).double(), torch.tensor([0.5, 2.0]).double()
    for tasks in ((0, 1), (0, 2)):
        for losses in (first, second):
            taken(weighting, [losses], tasks)
    (actual,) = taken(weighting, [torch.ones(3).double()], range(3))

    # The mean of task 0 stays 0.75; the others have one round each, and count as standing still.
    torch.testing.assert_close(actual, torch.ones(3).double())


# Options

CHANGES: list[tuple[str, Mapping[str, Any]]] = [
    ("uncertainty-weighting", {"learning_rate": 0.1}),
    ("dwa", {"temperature": 1.0}),
    ("dwa", {"every": 1}),
    ("famo", {"learning_rate": 0.1}),
    ("famo", {"weight_decay": 1.0}),
    ("stch", {"mu": 1.0}),
]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=str)
def test_every_option_changes_the_weights(name: str, change: Mapping[str, Any]) -> None:
    usual, changed = torch.stack(weighted(name)), torch.stack(weighted(name, **change))

    assert (usual - changed).abs().max() > 1e-3


def test_every_option_is_in_the_table_above() -> None:
    for name in NAMES:
        options = load(described(mtlora_torchjd, "regularizer", name).options)
        assert {*options.model_fields} == {key for n, c in CHANGES if n == name for key in c}
