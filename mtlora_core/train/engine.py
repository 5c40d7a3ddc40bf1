"""accelerate, set up: which device, which precision, how many processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..errors import RecipeError

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(precision: str = "fp32", device: str | None = None) -> Accelerator:
    """Return the engine of one training.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``, as in ``train.precision``.
        device: Such as ``cpu``, ``cuda:1`` or ``mps``; None takes the best there is. ``cuda`` is
            each process's own GPU where a launcher started several.

    Raises:
        RecipeError: the device cannot do that, is not there, or is one for several processes.
    """
    own = own_device(device)
    _require(own)
    # accelerate keeps one state a process and refuses a second precision; we may train twice.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        # A process's own GPU is left to accelerate, which also makes it the current one.
        with _chosen(device if own == device else None):
            return Accelerator(mixed_precision=PRECISIONS[precision], cpu=device == "cpu")
    except (RuntimeError, ValueError) as error:
        raise RecipeError(f"train.precision: {precision} cannot be had here: {error}") from error


def own_device(device: str | None) -> str | None:
    """Return which device is meant by ``device`` in this process, perhaps one of a launcher's.

    ``cuda`` in the process with ``LOCAL_RANK`` 1 is ``cuda:1``, as accelerate has it: counted
    round where there are fewer, such as one that is visible to each process.

    Raises:
        RecipeError: several processes are given one GPU.
    """
    kind, _, index = (device or "").partition(":")
    rank = int(os.environ.get("LOCAL_RANK", -1))
    if kind != "cuda" or rank < 0:
        return device
    if not index:
        return f"cuda:{rank % max(torch.cuda.device_count(), 1)}"
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise RecipeError(
            f"device {device!r}: would be the only GPU of several processes; write cuda, which "
            "gives each its own, and choose among GPUs by CUDA_VISIBLE_DEVICES"
        )
    return device


def peak_memory(device: torch.device) -> int | None:
    """Return the most memory this process has held so far, in bytes: a GPU's where it has one.

    On the CPU that is everything, Python and torch too. None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _require(device: str | None) -> None:
    """Raise unless torch can put something on the device."""
    try:
        torch.empty(0, device=device or "cpu")
    except (AssertionError, RuntimeError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0]
        raise RecipeError(f"device {device!r}: cannot be used here: {reason}") from error


@contextmanager
def _chosen(device: str | None) -> Iterator[None]:
    """Name the device to accelerate, which reads it from the environment."""
    if device is None or device == "cpu":
        yield
        return
    before = os.environ.get("ACCELERATE_TORCH_DEVICE")
    os.environ["ACCELERATE_TORCH_DEVICE"] = device
    try:
        yield
    finally:
        if before is None:
            del os.environ["ACCELERATE_TORCH_DEVICE"]
        else:
            os.environ["ACCELERATE_TORCH_DEVICE"] = before
