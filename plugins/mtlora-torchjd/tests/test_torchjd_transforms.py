from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchjd.aggregation import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradDrop,
    GradVac,
    NashMTL,
    PCGrad,
    UPGrad,
)

import mtlora_torchjd
from mtlora_core.component import load
from mtlora_core.options import TransformOptions
from mtlora_core.testing import check_transform, components_of, described, task_gradients
from mtlora_torchjd.weighted import normalized

SEED = 3

Aggregator = Callable[[Tensor], Tensor]


def nash_mtl() -> Aggregator:
    """Return TorchJD's, of gradients whose lengths together are 1, which is not of one task."""
    theirs: dict[int, NashMTL] = {}

    def aggregate(rows: Tensor) -> Tensor:
        if len(rows) == 1:
            return rows[0]
        own = theirs.setdefault(len(rows), NashMTL(len(rows), max_norm=0.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it sets up its program anew
            bargain = own(rows / rows.norm())
        summed: Tensor = bargain * rows.norm() / len(rows) ** 0.5
        return summed

    return aggregate


# By part: TorchJD's own aggregator, and whether it averages.
THEIRS: dict[str, tuple[Callable[[], Aggregator], bool]] = {
    "upgrad": (UPGrad, True),
    "mgda": (MGDA, True),
    "imtl-g": (IMTLG, True),
    "aligned-mtl": (AlignedMTL, True),
    "dual-proj": (DualProj, True),
    "pcgrad": (PCGrad, False),
    "cagrad": (lambda: CAGrad(c=0.5), True),
    "fairgrad": (lambda: FairGrad(alpha=2.0), False),
    "config": (ConFIG, False),
    "grad-drop": (GradDrop, False),
    "gradvac": (GradVac, False),
    "nash-mtl": (nash_mtl, False),
}
JOINT = ("upgrad", "dual-proj", "pcgrad", "grad-drop")
"""What promises joint training where nothing conflicts."""


def solvable(*names: str) -> list[Any]:
    """Return names as parameters, those whose solver is missing as skipped."""
    modules = {"upgrad": "quadprog", "dual-proj": "quadprog", "cagrad": "cvxpy", "nash-mtl": "ecos"}
    return [
        pytest.param(
            name,
            marks=[pytest.mark.skip(reason=f"{modules[name]} is an extra, and not installed")]
            if name in modules and find_spec(modules[name]) is None
            else [],
        )
        for name in names
    ]


each = pytest.mark.parametrize("name", solvable(*THEIRS))


def draw_rows(tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed)).double()


def built(name: str, tasks: int, groups: int = 1, **options: Any) -> Any:
    component = described(mtlora_torchjd, "regularizer", name)
    read = load(component.options).model_validate(options)
    return load(component.build)(read, tuple(f"task{i}" for i in range(tasks)), groups)


def transformed(
    name: str, *groups: Sequence[Tensor], seed: int = SEED, **options: Any
) -> Sequence[Tensor]:
    transform = built(name, len(groups[0][0]), len(groups), **options)
    made: Sequence[Tensor] = transform(task_gradients(groups, seed=seed))
    return made


def aggregated(name: str, rows: Tensor) -> Tensor:
    """Return what TorchJD makes of a matrix, as a sum."""
    make, averages = THEIRS[name]
    torch.manual_seed(SEED)
    return make()(rows) * (len(rows) if averages else 1)


def test_every_part_is_held_against_torchjd() -> None:
    assert {c.name for c in components_of(mtlora_torchjd) if c.transforms_gradients} == {*THEIRS}


@each
def test_keeps_the_contract_of_a_transform(name: str) -> None:
    check_transform(described(mtlora_torchjd, "regularizer", name))


@each
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_is_what_torchjd_makes_of_the_same_matrix(name: str, tasks: int) -> None:
    first, second = draw_rows(tasks, 4), draw_rows(tasks, 3, seed=1)

    one, other = transformed(name, [first, second], [second])

    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
    close(one, aggregated(name, torch.cat([first, second], 1)))
    close(other, aggregated(name, second))


@pytest.mark.parametrize("name", solvable(*JOINT))
def test_is_joint_training_where_nothing_conflicts(name: str) -> None:
    rows = draw_rows(5, 30).abs() * torch.logspace(-1, 1, 5).double()[:, None]

    (actual,) = transformed(name, [rows])

    torch.testing.assert_close(actual, rows.sum(0))


@each
def test_orthogonal_gradients_of_one_length_are_summed_or_nearly(name: str) -> None:
    (actual,) = transformed(name, [torch.eye(4).double()])

    # cagrad lengthens the joint gradient by c; fairgrad's own length is that of its solution, 1.
    length = 1.5 if name == "cagrad" else 1.0
    torch.testing.assert_close(actual, length * torch.ones(4).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", solvable("upgrad", "dual-proj"))
@settings(max_examples=25, deadline=None)
@given(tasks=st.integers(2, 6), size=st.integers(2, 9), seed=st.integers(0, 99))
def test_goes_against_no_task(name: str, tasks: int, size: int, seed: int) -> None:
    rows = draw_rows(tasks, size, seed)

    (actual,) = transformed(name, [rows], reg_eps=1e-6)

    assert (rows @ actual).min() > -1e-3 * rows.norm() * rows.sum(0).norm().clamp(min=1)


@each
@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_tiny_and_large_gradients_are_treated_alike(name: str, scale: float) -> None:
    rows = draw_rows(4, 6)

    (usual,), (scaled,) = transformed(name, [rows]), transformed(name, [scale * rows])

    # The one whose result is not proportional to the gradients: s^{1 - 2α / (1 + α)}, α = 2.
    power = -1 / 3 if name == "fairgrad" else 1
    torch.testing.assert_close(scaled / scale**power, usual, rtol=1e-4, atol=1e-6)


@each
def test_a_gradient_that_underflows_is_as_good_as_zero(name: str) -> None:
    rows = draw_rows(4, 6).float()
    rows[1] = 0
    rows[2] *= 1e-25

    (actual,) = transformed(name, [rows])
    (expected,) = transformed(name, [rows * torch.tensor([1, 1, 0, 1])[:, None]])

    assert actual.isfinite().all()
    torch.testing.assert_close(actual, expected)
    # No weighted mean is shorter than a gradient of 0, and no step helps the task that has it.
    assert bool(actual.any()) == (name not in ("mgda", "cagrad"))


def test_a_gramian_without_any_length_stays_zero() -> None:
    unit, trace = normalized(torch.zeros(3, 3))

    assert not unit.any()
    assert trace == 1


# Options


CHANGES: list[tuple[str, Mapping[str, Any]]] = [
    ("upgrad", {"reg_eps": 0.1}),
    ("dual-proj", {"reg_eps": 0.1}),
    ("mgda", {"epsilon": 0.5}),
    ("mgda", {"max_iters": 1}),
    ("aligned-mtl", {"scale_mode": "median"}),
    ("aligned-mtl", {"scale_mode": "rmse"}),
    ("cagrad", {"c": 0.1}),
    ("cagrad", {"norm_eps": 0.9}),
    ("fairgrad", {"alpha": 1.0}),
    ("fairgrad", {"max_iters": 1}),
    ("grad-drop", {"leak": 0.5}),
    ("gradvac", {"beta": 0.1}),
    ("nash-mtl", {"update_every": 2}),
]


@pytest.mark.parametrize(
    ("name", "change"),
    [pytest.param(p.values[0], c, marks=p.marks) for n, c in CHANGES for p in solvable(n)],
    ids=str,
)
def test_every_option_changes_the_result(name: str, change: Mapping[str, Any]) -> None:
    def second_step(**options: Any) -> Tensor:
        transform = built(name, 5, **options)
        first, second = (task_gradients([[draw_rows(5, 6, seed)]]) for seed in (1, 0))
        transform(first)
        (vector,) = transform(second)
        assert isinstance(vector, Tensor)
        return vector

    usual, changed = second_step(), second_step(**change)

    assert (usual - changed).norm() > 1e-3 * usual.norm()


def test_a_full_leak_is_joint_training_and_so_is_a_radius_of_zero() -> None:
    rows = draw_rows(5, 4)

    torch.testing.assert_close(transformed("grad-drop", [rows], leak=1.0)[0], rows.sum(0))
    if find_spec("cvxpy"):
        torch.testing.assert_close(transformed("cagrad", [rows], c=0.0)[0], rows.sum(0))


def test_every_option_is_in_the_table_above_and_the_scope_is_that_of_the_papers() -> None:
    for component in components_of(mtlora_torchjd):
        if not component.transforms_gradients:
            continue
        options = load(component.options)()
        assert isinstance(options, TransformOptions)
        assert options.scope == "global"
        own = {*type(options).model_fields} - {"scope"}
        assert own == {key for name, change in CHANGES if name == component.name for key in change}


# Random choices


@pytest.mark.parametrize("name", ["pcgrad", "grad-drop", "gradvac"])
def test_random_choices_come_from_the_step_s_seed(name: str) -> None:
    rows = draw_rows(6, 4)

    first, again, other = (transformed(name, [rows], seed=seed)[0] for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@each
def test_torch_s_own_generator_goes_on_as_it_was(name: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    transformed(name, [draw_rows(4, 6)])

    assert torch.equal(torch.rand(3), expected)


def test_a_sign_is_drawn_by_its_share() -> None:
    rows = torch.tensor([[3.0], [-1.0]]).expand(2, 4000).contiguous()

    (actual,) = transformed("grad-drop", [rows])

    assert {*actual.tolist()} == {3.0, -1.0}
    assert (actual > 0).double().mean() == pytest.approx(0.75, abs=0.03)


# Memory


remembering = pytest.mark.parametrize("name", solvable("gradvac", "nash-mtl"))


@remembering
def test_is_torchjd_s_over_several_steps_and_for_every_group_by_itself(name: str) -> None:
    transform = built(name, 4, 2)
    theirs = [THEIRS[name][0]() for _ in range(2)]

    for step in range(4):
        groups = [draw_rows(4, 9, 2 * step), draw_rows(4, 6, 2 * step + 1)]
        ours = transform(task_gradients([[rows] for rows in groups], seed=step))
        for own, rows, aggregator in zip(ours, groups, theirs, strict=True):
            torch.manual_seed(step)
            torch.testing.assert_close(own, aggregator(rows), rtol=1e-5, atol=1e-6)


@remembering
def test_what_is_known_of_an_absent_task_or_group_stays(name: str) -> None:
    transform = built(name, 5, 3)
    for step in range(2):
        transform(task_gradients([[draw_rows(5, 6, step)] for _ in range(3)], seed=step))
    before = {key: value.clone() for key, value in transform.state_dict().items()}
    whole = task_gradients([[draw_rows(2, 6, 9)] for _ in range(3)], (1, 3))
    transform(replace(whole, groups=whole.groups[1:2], indices=[1]))

    for key, value in transform.state_dict().items():
        moved = {*map(tuple, (value != before[key]).nonzero().tolist())}
        assert moved
        assert {index[0] for index in moved} == {1}
        assert {t for index in moved for t in index[1:]} <= {1, 3}


def test_gradients_that_agreed_are_turned_until_they_agree_as_much() -> None:
    transform = built("gradvac", 2, beta=1.0)
    agreeing, apart = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.eye(2)

    transform(task_gradients([[agreeing]]))
    (actual,) = transform(task_gradients([[apart]]))

    # Each is turned to a cosine of 0.6 with the other's gradient: by 0.75 of it.
    torch.testing.assert_close(actual, torch.full((2,), 1.75))


def test_a_bargain_is_as_long_as_all_gradients_together_and_none_is_against_it() -> None:
    pytest.importorskip("ecos")
    for seed in range(5):
        rows = draw_rows(4, 9, seed)
        (actual,) = transformed("nash-mtl", [rows])

        assert (rows @ actual).min() > 0
        torch.testing.assert_close(actual.norm(), rows.norm(), rtol=0.02, atol=0)
