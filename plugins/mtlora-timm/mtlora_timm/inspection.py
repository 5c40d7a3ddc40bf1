"""Describing a vision transformer that is built: its names are relative to what was passed."""

from __future__ import annotations

from typing import Any

from mtlora_core.errors import CompositionError
from mtlora_core.sites import BackboneShape

from .description import describe
from .variants import Size


def describe_module(module: Any) -> BackboneShape:
    """Return the shape of a vision transformer of timm, whatever it is wrapped in.

    Raises:
        CompositionError: there is none in it, or more than one, or not of plain layers.
    """
    from .library import timm

    kind = timm.models.vision_transformer.VisionTransformer
    found = {name: part for name, part in module.named_modules() if isinstance(part, kind)}
    if len(found) != 1:
        raise CompositionError(
            f"{type(module).__name__} should hold one VisionTransformer of timm, not {len(found)}; "
            "pass the vision transformer itself"
        )
    [(name, vit)] = found.items()
    return describe(_measured(vit), f"{name}." if name else "")


def _measured(vit: Any) -> Size:
    sizes = {(block.width, block.inner, block.gated) for block in map(_block, vit.blocks)}
    if len(sizes) != 1:
        raise CompositionError(f"the layers should be alike; they are of {len(sizes)} sizes")
    [(width, inner, gated)] = sizes
    return Size(width, len(vit.blocks), inner, gated)


def _block(block: Any) -> Size:
    """Return the size of one layer.

    Raises:
        CompositionError: it adds elsewhere than a plain one, or its parts are of other kinds.
    """
    from .library import timm

    layers = timm.layers
    kinds = [type(block), *(type(getattr(block, part, None)) for part in ("attn", "mlp"))]
    plain = kinds[0] is timm.models.vision_transformer.Block and kinds[1] is layers.Attention
    gated = kinds[2] is layers.GluMlp and not block.mlp.gate_last
    if not plain or not (gated or kinds[2] is layers.Mlp):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise CompositionError(f"a layer should be a Block of Attention and Mlp, not {names}")
    width, qkv = block.attn.proj.out_features, block.attn.qkv.out_features
    if qkv != 3 * width:
        raise CompositionError(f"attn.qkv should give {3 * width} numbers, not {qkv}")
    return Size(width, 1, block.mlp.fc2.in_features, gated)
