"""Sums of a step, over its forwards and over processes, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from .gradients import sum_over_processes


class Tally:
    """Adds up scalars by name on the device, and brings them to the CPU once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add a scalar, out of its graph."""
        value = value.detach().double() if value.device.type != "mps" else value.detach()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def finish(self, names: Sequence[str], accelerator: Accelerator) -> dict[str, float]:
        """Return the sums over processes; what a process did not see counts as 0.

        Args:
            names: What to sum, the same on every process.
            accelerator: Says which processes there are.
        """
        if not names:
            return {}
        zero = torch.zeros((), device=accelerator.device)
        rows = torch.stack([self._sums.get(name, zero).to(accelerator.device) for name in names])
        return dict(zip(names, sum_over_processes(rows, accelerator).tolist(), strict=True))
