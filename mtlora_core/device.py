"""Which device a process takes, and how much of its memory."""

from __future__ import annotations

import os
import sys

import torch
from accelerate.utils import parse_flag_from_env

from .errors import RecipeError


def pick_device(device: str | None = None) -> torch.device:
    """Return a device of this process.

    Args:
        device: Such as ``cpu``, ``cuda:1`` or ``mps``; None takes the best there is. ``cuda`` is
            each process's own GPU where a launcher started several.

    Raises:
        RecipeError: it is not there, or is one for several processes.
    """
    own = own_device(device or _best())
    _require(own)
    return torch.device(own)


def own_device(device: str) -> str:
    """Return which device is meant by ``device`` in this process, perhaps one of a launcher's.

    ``cuda`` in the process with ``LOCAL_RANK`` 1 is ``cuda:1``, as accelerate has it: counted
    round where there are fewer, such as one that is visible to each process.

    Raises:
        RecipeError: several processes are given one GPU.
    """
    kind, _, index = device.partition(":")
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


def _best() -> str:
    """Return the kind of the fastest device there is, unless ``accelerate launch --cpu`` ran."""
    if parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available():
        return "cpu"
    found = torch.accelerator.current_accelerator()
    return "cpu" if found is None else found.type


def _require(device: str) -> None:
    """Raise unless torch can put something on the device."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0]
        raise RecipeError(f"device {device!r}: cannot be used here: {reason}") from error
