"""The option ``blocks``: where a model that is in no row of the family table keeps its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from mtlora_core.options import Options
from mtlora_core.sites import Block, Layer, Projection

Role = Literal["q", "k", "v", "o", "gate", "up", "down"]


class WrittenBlock(Options):
    """An attention or FFN block; names are relative to a layer."""

    reads: str
    """The module whose input the block reads, behind the norm where that comes first."""
    adds: str | None = None
    """The module whose output is added to the residual stream; left out: the one it reads."""

    def at(self, layer: str) -> Block:
        """Return the block of the layer whose modules' names start with ``layer``."""
        return Block(layer + self.reads, layer + (self.adds or self.reads))


class WrittenProjection(Options):
    """A linear map of a layer."""

    module: str
    """Its module, relative to the layer."""
    d: PositiveInt
    """Width of its input."""
    o: PositiveInt
    """Width of its output, or of its slice of a fused one."""
    start: NonNegativeInt | None = None
    """First output coordinate, where one module fuses several projections side by side."""

    def at(self, layer: str) -> Projection:
        """Return the projection of the layer whose modules' names start with ``layer``."""
        return Projection(layer + self.module, self.d, self.o, self.start)


class Blocks(Options):
    """Where the blocks of a model are."""

    layers: str
    """Path of the list of layers in the model without its task head, such as ``decoder.layers``."""
    count: PositiveInt
    """How many layers there are."""
    width: PositiveInt
    """Width of the residual stream."""
    causal: bool
    """Whether a token sees only what stands before it."""
    attention: WrittenBlock
    """The attention block."""
    ffn: WrittenBlock
    """The feed-forward block."""
    projections: Mapping[Role, WrittenProjection] = {}
    """By role; only those that a placement will name are needed."""

    def layer(self, at: str) -> Layer:
        """Return the layer whose modules' names start with ``at``."""
        return Layer(
            self.attention.at(at),
            self.ffn.at(at),
            {role: projection.at(at) for role, projection in self.projections.items()},
        )
