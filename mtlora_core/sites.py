"""Where adapters can sit, as plain data: a backbone's shape and the sites a placement chooses.

Light on purpose: a backbone's options describe the model from its configuration file, so
``resolve`` knows every site and width without loading torch or a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Projection:
    """A linear map of a layer, such as W_q."""

    module: str
    """Path of the module inside the backbone, such as ``layers.0.self_attn.q_proj``."""
    d: int
    """Width of its input."""
    o: int
    """Width of its output, or of the slice that is this projection's."""
    start: int | None = None
    """First output coordinate, where several projections are fused in one module."""


@dataclass(frozen=True)
class Block:
    """An attention or FFN block as the residual stream sees it."""

    reads: str
    """The module whose input the block reads, after the layer's own norm if that comes first."""
    adds: str
    """The module whose output is what the block adds to the residual stream."""


@dataclass(frozen=True)
class Layer:
    """One transformer layer: its two blocks, and its projections by role."""

    attention: Block
    ffn: Block
    projections: Mapping[str, Projection]
    """By role, of ``q k v o gate up down``; a family without gates has none."""


@dataclass(frozen=True)
class BackboneShape:
    """What can be known of a backbone before its weights are read."""

    family: str
    """The model type of its configuration, such as ``bert``."""
    width: int
    """Width of the residual stream."""
    layers: tuple[Layer, ...]
    causal: bool
    """Whether a token sees only what stands before it."""
    reads: Literal["text", "image"] = "text"
    """What the model's inputs are."""
    packed: bool = False
    """Whether weights are kept quantized, so that none can be read as a matrix."""


@dataclass(frozen=True)
class Site:
    """A place where an adapter reads ``[b, t, d]`` and adds ``[b, t, o]``."""

    name: str
    """Unique in the model and free of dots, such as ``layer0_q`` or ``layer3_ffn``."""
    kind: Literal["projection", "block"]
    layer: int
    reads: str
    """The module whose input the adapter reads."""
    adds: str
    """The module whose output it adds to; the same one for a projection."""
    d: int
    o: int
    start: int | None = field(default=None)
    """First coordinate of the output that is this site's, where the module fuses several."""

    @property
    def slice(self) -> slice | None:
        """The output coordinates that are this site's, or None where all are."""
        return None if self.start is None else slice(self.start, self.start + self.o)
