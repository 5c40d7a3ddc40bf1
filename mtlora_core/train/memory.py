"""What regularizers remember from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from ..adapters import Adapters
from ..errors import CompositionError


def memory(adapters: Adapters) -> dict[str, Tensor]:
    """Return a copy of all that the recipe's transform and weighting remember, by name."""
    return {name: tensor.clone() for name, tensor in _remembered(adapters).items()}


def remember(adapters: Adapters, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`memory` gave.

    Raises:
        CompositionError: names or shapes are those of other regularizers or tasks.
    """
    own = _remembered(adapters)
    shapes, given = ({n: [*t.shape] for n, t in each.items()} for each in (own, tensors))
    if shapes != given:
        raise CompositionError(f"regularizers remember {shapes}, and were given {given}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


@contextmanager
def undoing(adapters: Adapters) -> Iterator[Callable[[], None]]:
    """Yield what makes regularizers forget all that they learn from here on.

    Where what is inside fails, they forget by themselves.
    """
    before = memory(adapters)

    def undo() -> None:
        remember(adapters, before)

    try:
        yield undo
    except BaseException:
        undo()
        raise


def _remembered(adapters: Adapters) -> dict[str, Tensor]:
    """Return the tensors themselves."""
    transform, weighting = adapters.transform, adapters.weighting
    modules = {
        "transform": transform and transform.transform,
        "weighting": weighting and weighting.weighting,
    }
    return {
        f"{place}.{name}": tensor.detach()
        for place, module in modules.items()
        if isinstance(module, nn.Module)
        for name, tensor in module.state_dict().items()
    }
