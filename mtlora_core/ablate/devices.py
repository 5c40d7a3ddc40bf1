"""The devices of this machine, for cells that run beside each other."""

from __future__ import annotations

from collections.abc import Sequence


def places(jobs: int, devices: Sequence[str], *, here: bool) -> list[str | None]:
    """Return a device for each of ``jobs`` places; None leaves the choice to the process.

    Args:
        jobs: How many cells may run at a time.
        devices: Those to be used, in turn; where empty and several cells run on this machine, a
            GPU each if there are several.
        here: Whether cells run on this machine.
    """
    named = list(devices) or (_gpus() if here and jobs > 1 else [])
    return [named[place % len(named)] if named else None for place in range(jobs)]


def _gpus() -> list[str]:
    # The only look at torch, for who runs cells side by side; it makes no context on a device.
    import torch

    count = torch.cuda.device_count()
    return [f"cuda:{index}" for index in range(count)] if count > 1 else []
