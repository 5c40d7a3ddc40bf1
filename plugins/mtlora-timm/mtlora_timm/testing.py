"""Tiny models of timm's own classes, with random weights, and pictures for them.

For tests: a model takes milliseconds and no download.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from mtlora_core.inputs import Pixels

from .library import timm

TINY: Mapping[str, str] = {
    "plain": "vit_tiny_patch16_224",
    "layer-scale": "vit_small_patch14_dinov2",
    "registers": "vit_small_patch14_reg4_dinov2",
    "fc-norm": "vit_medium_patch16_reg4_gap_256",
    "attention-pool": "vit_base_patch16_siglip_224",
    "distilled": "deit_tiny_distilled_patch16_224",
    "swiglu": "vit_giant_patch14_dinov2",
}
"""Models that differ in what stands around the layers, or in the FFN, by what is special."""

ARCHITECTURE: Mapping[str, Any] = {
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 1.5,
    "patch_size": 8,
}
SIZE = 24
"""Side of the pictures that tiny models read: nine patches."""


def save_tiny(folder: Path, kind: str = "plain", seed: int = 0) -> dict[str, Any]:
    """Write a tiny model into ``folder`` and return the backbone's options that name it.

    No weight is 0 or near it: that would hide what is added where.

    Args:
        folder: Where its weights go; made where it is not there.
        kind: A key of :data:`TINY`.
        seed: Of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(
            TINY[kind], num_classes=0, img_size=SIZE, **ARCHITECTURE
        )
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    save_file(model.state_dict(), file)
    return {
        "model": TINY[kind],
        "checkpoint": str(file),
        "image_size": SIZE,
        "architecture": dict(ARCHITECTURE),
    }


def pictures(count: int, seed: int = 0) -> list[Pixels]:
    """Return random pictures of different sizes, grey and coloured by turns."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        height, width, channels = SIZE + index % 3, SIZE + index % 2, (1, 3)[index % 2]
        values = torch.randint(256, (height * width * channels,), generator=generator)
        made.append(Pixels(bytes(values.tolist()), height, width, channels))  # type: ignore[arg-type]
    return made
