"""What both placements choose from: the layers of the backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from mtlora_core.sites import BackboneShape

T = TypeVar("T")


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return ``values``, each of which stands once.

    Raises:
        ValueError: some stand twice; two adapters at one site are one of another rank.
    """
    twice = list(dict.fromkeys(value for value in values if values.count(value) > 1))
    if twice:
        raise ValueError(f"{', '.join(map(str, twice))} written twice; once is enough")
    return values


Layers = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(distinct)]
"""Numbers of layers; as in Python, negative ones count from the end."""


def chosen_layers(layers: Sequence[int] | None, shape: BackboneShape) -> list[int]:
    """Return the chosen layers' numbers, from 0 and in order; those out of range are left out."""
    count = len(shape.layers)
    if layers is None:
        return list(range(count))
    return sorted({layer % count for layer in layers if -count <= layer < count})


def layer_problems(layers: Sequence[int] | None, shape: BackboneShape) -> list[str]:
    """Return what keeps ``layers`` from naming layers of the backbone, one line each."""
    count = len(shape.layers)
    problems = [
        f"layers: there is no layer {layer}; this {shape.family} has layers 0 to {count - 1}, "
        f"or -{count} to -1 from the end"
        for layer in layers or ()
        if not -count <= layer < count
    ]
    problems += [
        f"layers: {layer} and {layer + count} are one layer of {count}; once is enough"
        for layer in layers or ()
        if -count <= layer < 0 and layer + count in (layers or ())
    ]
    return problems
