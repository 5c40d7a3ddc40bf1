"""Which device a process takes, alone and as one of several."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState

from mtlora_core import device as devices
from mtlora_core.device import own_device, pick_device
from mtlora_core.errors import RecipeError
from mtlora_core.train import engine
from mtlora_core.train.engine import Engine, make_engine


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "WORLD_SIZE", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)


def launched(monkeypatch: pytest.MonkeyPatch, rank: int, *, of: int, gpus: int) -> None:
    """Make this process one that a launcher started, on a machine with some GPUs."""
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(of))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_process_alone_takes_the_device_as_it_is_written(device: str) -> None:
    assert own_device(device) == device


@pytest.mark.parametrize(
    ("rank", "gpus", "own"),
    [(0, 4, "cuda:0"), (3, 4, "cuda:3"), (3, 1, "cuda:0"), (1, 0, "cuda:0")],
)
def test_each_of_several_processes_takes_a_gpu_of_its_own(
    rank: int, gpus: int, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, rank, of=4, gpus=gpus)

    assert own_device("cuda") == own


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_several_processes_take_what_is_no_gpu_as_it_is_written(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, 1, of=2, gpus=2)

    assert own_device(device) == device


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, 1, of=2, gpus=2)

    with pytest.raises(RecipeError) as caught:
        make_engine(device="cuda:1")

    assert caught.value.problems == (
        "device 'cuda:1': would be the only GPU of several processes; write cuda, which gives "
        "each its own, and choose among GPUs by CUDA_VISIBLE_DEVICES",
    )


def test_a_launcher_s_only_process_may_name_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, 0, of=1, gpus=2)

    assert own_device("cuda:1") == "cuda:1"


class Started:
    """Stands for what accelerate says of one of four processes."""

    num_processes, process_index = 4, 1

    def __init__(self, cpu: bool) -> None:
        self.cpu = cpu


@pytest.mark.parametrize(("device", "gpus", "own"), [("cuda", 4, "cuda:1"), ("cpu", 0, "cpu")])
def test_each_of_several_processes_has_a_device_and_a_rank(
    device: str, gpus: int, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def started(*, cpu: bool) -> Started:
        asked.append(cpu)
        return Started(cpu)

    launched(monkeypatch, 1, of=4, gpus=gpus)
    monkeypatch.setattr(devices, "_require", lambda device: None)
    monkeypatch.setattr(engine, "PartialState", started)

    assert make_engine(device=device) == Engine(torch.device(own), "fp32", 4, 1)
    assert asked == [device == "cpu"]


@pytest.fixture
def own() -> Iterator[Accelerator]:
    """Give a program's own accelerator, whose state is that of the process."""
    yield Accelerator(mixed_precision="bf16", cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


def product() -> torch.dtype:
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_an_engine_leaves_a_program_s_own_accelerator_as_it_is(own: Accelerator) -> None:
    make_engine("fp32", "cpu")
    make_engine("fp16", "cpu")
    pick_device("meta")

    assert own.mixed_precision == "bf16"
    assert own.device == torch.device("cpu")
    with own.autocast():
        assert product() == torch.bfloat16


def test_an_engine_leaves_nothing_for_a_later_accelerator_to_find() -> None:
    before = dict(PartialState._shared_state)
    make_engine("bf16", "cpu")

    assert PartialState._shared_state == before


def test_engines_of_two_precisions_do_not_see_each_other() -> None:
    engines = [make_engine(precision, "cpu") for precision in ("bf16", "fp32", "fp16")]

    for each, dtype in zip(engines, (torch.bfloat16, torch.float32, torch.float16), strict=True):
        with each.autocast():
            assert product() == dtype


def test_a_precision_that_a_device_has_not_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"train\.precision: bf16 cannot be had here"):
        make_engine("bf16", "meta")


def test_accelerate_s_own_switch_keeps_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))

    assert pick_device() == torch.device("meta")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert pick_device() == torch.device("cpu")
