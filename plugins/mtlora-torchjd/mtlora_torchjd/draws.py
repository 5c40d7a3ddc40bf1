"""Random choices from a seed, by code that knows torch's global generators only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def drawn_from(seed: int, device: torch.device) -> Iterator[None]:
    """Let what is drawn on ``device`` come from ``seed``; torch's generators go on as they were."""
    own = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(own, device_type=device.type if own else "cuda"):
        torch.default_generator.manual_seed(seed)
        for each in own:
            with torch.get_device_module(each).device(each):
                torch.get_device_module(each).manual_seed(seed)
        yield
