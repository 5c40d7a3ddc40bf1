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
        device: Such as ``cpu``, ``cuda:1`` or ``mps``; None takes the best there is.

    Raises:
        RecipeError: the device cannot do that, or is not there.
    """
    _require(device)
    # accelerate keeps one state a process and refuses a second precision; we may train twice.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        with _chosen(device):
            return Accelerator(mixed_precision=PRECISIONS[precision], cpu=device == "cpu")
    except (RuntimeError, ValueError) as error:
        raise RecipeError(f"train.precision: {precision} cannot be had here: {error}") from error


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
