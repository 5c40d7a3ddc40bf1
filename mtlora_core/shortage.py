"""What the machine is short of; a lack of memory becomes smaller batches, or advice."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .errors import TrainingError

LACKS = {
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}
"""What the system says where it has no more memory, disk or open files, or no network."""
UNREACHED = {"ConnectionError", "TimeoutError", "Timeout", "TransportError", "URLError", "gaierror"}
"""Classes of errors of a network, of Python and of libraries that are not loaded here."""


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


def in_batches(answer: Callable[[Sequence[int]], None], lengths: Sequence[int], size: int) -> None:
    """Run what is of similar length together; half of a batch where memory runs out.

    Args:
        answer: Runs a batch of indices; done again in halves, so what it leaves is by index.
        lengths: Tokens of each example.
        size: Examples of a batch.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    waiting = [order[start : start + size] for start in range(0, len(order), size)][::-1]
    while waiting:
        batch = waiting.pop()
        try:
            answer(batch)
        except (MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not lacks_memory(error):
                raise
            half = len(batch) // 2
            waiting += [batch[half:], batch[:half]]


def is_shortage(error: BaseException) -> bool:
    """Whether an error says what the machine lacks: memory, disk, open files, or a network."""
    if isinstance(error, OSError) and error.errno in LACKS:
        return True
    unreached = any(kind.__name__ in UNREACHED for kind in type(error).__mro__)
    return unreached or lacks_memory(error)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    # By its name, since torch is not loaded where nothing needs it. On a CPU torch raises a bare
    # RuntimeError, whose text names the allocator.
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or "DefaultCPUAllocator" in str(error)
