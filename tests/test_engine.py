"""Which device a process takes, alone and as one of several."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from mtlora_core.errors import RecipeError
from mtlora_core.train import engine
from mtlora_core.train.engine import make_accelerator, own_device


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "WORLD_SIZE", "ACCELERATE_TORCH_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def launched(monkeypatch: pytest.MonkeyPatch, rank: int, *, of: int, gpus: int) -> None:
    """Make this process one that a launcher started, on a machine with some GPUs."""
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(of))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize("device", [None, "cpu", "cuda", "cuda:1", "mps"])
def test_a_process_alone_takes_the_device_as_it_is_written(device: str | None) -> None:
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


@pytest.mark.parametrize("device", [None, "cpu", "mps"])
def test_several_processes_take_what_is_no_gpu_as_it_is_written(
    device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, 1, of=2, gpus=2)

    assert own_device(device) == device


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, 1, of=2, gpus=2)

    with pytest.raises(RecipeError) as caught:
        make_accelerator(device="cuda:1")

    assert caught.value.problems == (
        "device 'cuda:1': would be the only GPU of several processes; write cuda, which gives "
        "each its own, and choose among GPUs by CUDA_VISIBLE_DEVICES",
    )


def test_a_launcher_s_only_process_may_name_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, 0, of=1, gpus=2)

    assert own_device("cuda:1") == "cuda:1"


@pytest.mark.parametrize(
    ("device", "several", "needed", "told"),
    [
        ("cuda", True, "cuda:1", None),
        ("cuda", False, "cuda", "cuda"),
        ("cuda:1", False, "cuda:1", "cuda:1"),
    ],
)
def test_a_process_s_own_gpu_must_be_there_and_is_left_to_accelerate(
    device: str, several: bool, needed: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def made(**how: Any) -> None:
        seen.append(os.environ.get("ACCELERATE_TORCH_DEVICE"))

    if several:
        launched(monkeypatch, 1, of=2, gpus=2)
    monkeypatch.setattr(engine, "_require", seen.append)
    monkeypatch.setattr(engine, "Accelerator", made)
    make_accelerator(device=device)

    assert seen == [needed, told]
    assert "ACCELERATE_TORCH_DEVICE" not in os.environ
