"""What a training computes on: a device, a precision, and its place among processes.

accelerate starts the processes and sums over them. Its ``Accelerator`` is not used: all of those in
a process share one state, so that a second training, or the caller's own, would change the device
and the precision of the first.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from torch import Tensor

from ..device import pick_device
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
        device: As for :func:`~mtlora_core.device.pick_device`.

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
