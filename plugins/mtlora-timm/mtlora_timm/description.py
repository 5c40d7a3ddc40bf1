"""From the size of a vision transformer to its shape."""

from __future__ import annotations

from mtlora_core.sites import BackboneShape, Block, Layer, Projection

from .variants import Size


def describe(size: Size, prefix: str = "") -> BackboneShape:
    """Return the shape of a vision transformer.

    A layer of timm adds ``drop_path(ls(block(norm(x))))`` to the residual stream. What the
    block reads is its norm's output, and what is added comes from ``drop_path``: an adapter there
    is outside both LayerScale and drop-path, each of which is a module even where it does nothing.

    Args:
        size: Of the model.
        prefix: Put before every module's name, such as ``vit.`` inside a model with parts beside.
    """
    return BackboneShape(
        family="vit",
        width=size.width,
        layers=tuple(_layer(size, f"{prefix}blocks.{index}.") for index in range(size.depth)),
        causal=False,
        reads="image",
    )


def _layer(size: Size, at: str) -> Layer:
    width, inner = size.width, size.inner
    qkv, fc1 = f"{at}attn.qkv", f"{at}mlp.fc1"
    fused = {role: Projection(qkv, width, width, i * width) for i, role in enumerate("qkv")}
    if size.gated:  # the first half of fc1 is the gate
        up = {"gate": Projection(fc1, width, inner, 0), "up": Projection(fc1, width, inner, inner)}
    else:
        up = {"up": Projection(fc1, width, inner)}
    return Layer(
        attention=Block(f"{at}attn", f"{at}drop_path1"),
        ffn=Block(f"{at}mlp", f"{at}drop_path2"),
        projections={
            **fused,
            "o": Projection(f"{at}attn.proj", width, width),
            **up,
            "down": Projection(f"{at}mlp.fc2", inner, width),
        },
    )
