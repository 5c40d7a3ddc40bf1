"""Solvers that only some methods need, and that are therefore extras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mtlora_core.errors import CompositionError


@contextmanager
def needing(extra: str, *, part: str) -> Iterator[None]:
    """Say how to install what TorchJD misses inside.

    Raises:
        CompositionError: a solver is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise CompositionError(
            f"regularizer {part!r}: {error.args[0].split('. ')[0]}; "
            f'pip install "mtlora-torchjd[{extra}]"'
        ) from error
