"""Sums of a step, over its forwards and over processes, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .engine import Engine


class Tally:
    """Adds up scalars by name on the device, and brings them to the CPU once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add a scalar, out of its graph."""
        value = value.detach().double() if value.device.type != "mps" else value.detach()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def totals(self, names: Sequence[str], engine: Engine) -> Tensor:
        """Return the sums over processes on the device; what a process did not see counts as 0.

        Args:
            names: What to sum, the same on every process.
            engine: Says which processes there are.
        """
        # Of the type that `add` keeps: a process without a forward sends as many bytes as others.
        wide = torch.float32 if engine.device.type == "mps" else torch.float64
        zero = torch.zeros((), dtype=wide, device=engine.device)
        rows = torch.stack([self._sums.get(name, zero).to(engine.device) for name in names])
        return engine.sum(rows)

    def finish(self, names: Sequence[str], engine: Engine) -> dict[str, float]:
        """Return :meth:`totals` by name, on the CPU."""
        if not names:
            return {}
        return dict(zip(names, self.totals(names, engine).tolist(), strict=True))
