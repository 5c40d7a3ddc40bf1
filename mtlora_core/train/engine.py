"""What a training computes on: a device, a precision, and its place among processes.

accelerate starts the processes and sums over them. Its ``Accelerator`` is not used: all of those in
a process share one state, so that a second training, or the caller's own, would change the device
and the precision of the first.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env, reduce
from torch import Tensor

from ..errors import RecipeError

T = TypeVar("T")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes they have started."""


@dataclass(frozen=True)
class Engine:
    """The engine of one training or scoring; what another one has is no concern of it."""

    device: torch.device
    """This process's own."""
    precision: str = "fp32"
    """``fp32``, ``bf16`` or ``fp16``, as in ``train.precision``."""
    processes: int = 1
    """How many share the work."""
    rank: int = 0
    """Which of them this is, counted from 0."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the engine's precision inside.

        Raises:
            RuntimeError: the device cannot do that.
        """
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over processes."""
        if self.processes == 1:
            return values
        total = reduce(values, "sum")
        assert isinstance(total, Tensor)
        return total

    def gather(self, rows: list[T]) -> list[T]:
        """Return the rows of every process, to each of them."""
        return rows if self.processes == 1 else [*gather_object(rows)]

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.processes > 1:
            PartialState().wait_for_everyone()


def make_engine(precision: str = "fp32", device: str | None = None) -> Engine:
    """Return the engine of one training; a launcher's processes find each other here.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``, as in ``train.precision``.
        device: As for :func:`pick_device`.

    Raises:
        RecipeError: the device cannot do that, is not there, or is one for several processes.
    """
    chosen = pick_device(device)
    engine = Engine(chosen, precision)
    if any(int(os.environ.get(name, 1)) > 1 for name in SIZES):
        # The one state that processes share; it also makes a process's GPU its current one.
        state = PartialState(cpu=chosen.type == "cpu")
        engine = Engine(chosen, precision, state.num_processes, state.process_index)
    try:
        engine.autocast()
    except RuntimeError as error:
        raise RecipeError(f"train.precision: {precision} cannot be had here: {error}") from error
    return engine


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
