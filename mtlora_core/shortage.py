"""A lack of memory becomes advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import TrainingError


@contextmanager
def explained(where: str, advice: str) -> Iterator[None]:
    """Turn a lack of memory inside into an error that people can do something with.

    Args:
        where: What ran out of memory, and with which sizes.
        advice: What to try.

    Raises:
        TrainingError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise TrainingError(f"{where}; try {advice}") from error


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    # On a CPU torch raises a bare RuntimeError, whose text names the allocator.
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "DefaultCPUAllocator" in str(error)
