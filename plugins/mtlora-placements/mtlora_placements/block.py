"""Adapters parallel to whole blocks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mtlora_core.errors import CompositionError
from mtlora_core.options import Options
from mtlora_core.sites import BackboneShape, Block, Site

from .selection import Layers, chosen_layers, distinct, layer_problems

BlockName = Literal["attention", "ffn"]
"""The two blocks of a transformer layer."""


class BlockOptions(Options):
    """Options of the ``block`` placement."""

    at: Annotated[tuple[BlockName, ...], Field(min_length=1), AfterValidator(distinct)] = ("ffn",)
    """Blocks of a layer that get an adapter: attention, ffn, or both."""
    layers: Layers | None = None
    """Only these layers, counted from 0, or from -1 at the end; none written: all layers."""


def place(options: BlockOptions, shape: BackboneShape) -> list[Site]:
    """Return a site for every chosen block, layer by layer, blocks as they were written.

    Implements Eq. 4 of "Scalable Multi-Task Low-Rank Model Adaptation",
    https://arxiv.org/abs/2603.01526: the adapter reads what the block reads and adds to what the
    block adds to the residual stream. The paper leaves its place beside dropout, LayerScale and
    post-norms open: ours is outside of all three, where the shape's ``adds`` module ends.
    The FFN alone is the paper's full model, and the best of its Table 4 for the parameters.

    Raises:
        CompositionError: a layer that this backbone has not; all of them at once.
    """
    if problems := layer_problems(options.layers, shape):
        raise CompositionError(problems)
    return [
        _site(layer, name, getattr(shape.layers[layer], name), shape.width)
        for layer in chosen_layers(options.layers, shape)
        for name in options.at
    ]


def _site(layer: int, name: BlockName, block: Block, width: int) -> Site:
    return Site(
        name=f"layer{layer}_{name}",
        kind="block",
        layer=layer,
        reads=block.reads,
        adds=block.adds,
        d=width,
        o=width,
    )
