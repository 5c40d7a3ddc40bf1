"""The table of variants: how large a vision transformer is, told by its name in timm.

timm knows a model's size only by building it, which takes torch. Its names follow a pattern, so
this table can say it first; the built model is held against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mtlora_core.errors import CompositionError


@dataclass(frozen=True)
class Size:
    """What the sites of a vision transformer follow from."""

    width: int
    """Of the residual stream."""
    depth: int
    """Layers."""
    inner: int
    """Width of the FFN's inside."""
    gated: bool = False
    """Whether the FFN multiplies its inside by a gate, as SwiGLU does."""


@dataclass(frozen=True)
class Variant:
    """One row of the table, in the arguments of timm's own classes."""

    embed_dim: int
    depth: int = 12
    mlp_ratio: float = 4.0
    gated: bool = False

    @property
    def size(self) -> Size:
        """The sizes that timm makes of these arguments."""
        inner = int(self.embed_dim * self.mlp_ratio)
        return Size(self.embed_dim, self.depth, inner // 2 if self.gated else inner, self.gated)


VARIANTS: Mapping[str, Variant] = {
    "tiny": Variant(192),
    "xsmall": Variant(256, depth=10),
    "wee": Variant(256, depth=14, mlp_ratio=5),
    "little": Variant(320, depth=14, mlp_ratio=5.6),
    "small": Variant(384),
    "small 36x1": Variant(384, depth=36),
    "medium": Variant(512),
    "mediumd": Variant(512, depth=20),
    "betwixt": Variant(640),
    "base": Variant(768),
    "base plus": Variant(896),
    "so150m": Variant(896, depth=18, mlp_ratio=2.572),
    "so150m2": Variant(832, depth=21, mlp_ratio=34 / 13),
    "intern300m": Variant(1024, depth=24),
    "large": Variant(1024, depth=24),
    "so400m": Variant(1152, depth=27, mlp_ratio=3.7362),
    "huge": Variant(1280, depth=32),
    "giant": Variant(1408, depth=40, mlp_ratio=48 / 11),
    "giant dinov2": Variant(1536, depth=40, mlp_ratio=2.66667 * 2, gated=True),
    "giant tipsv2": Variant(1536, depth=40, mlp_ratio=2.66667 * 2, gated=True),
    "giantopt": Variant(1536, depth=40),
    "gigantic": Variant(1664, depth=48, mlp_ratio=64 / 13),
}
"""By the size in a model's name, and a second word of the name where the two together tell."""

_NAME = re.compile(r"(?:vit|deit|deit3)_([a-z0-9]+)(?:_distilled)?_patch(\d+)((?:_[a-z0-9]+)*)")
_WORD = re.compile(r"\d+|36x1|clip|dinov2|gap|map|miil|plus|quickgelu|reg\d+|siglip|tipsv2")
"""Words that change weights, tokens, norms or pooling, and nothing of where adapters sit."""


def variant_of(model: str) -> Variant:
    """Return the table's row of a name such as ``vit_small_patch14_dinov2.lvd142m``.

    Raises:
        CompositionError: the name is of no row.
    """
    size, _, words = _parsed(model)
    for key in (*(f"{size} {word}" for word in words), size):
        if key in VARIANTS:
            return VARIANTS[key]
    raise CompositionError(_unknown())


def patch_of(model: str) -> int | None:
    """Return the side of a patch in pixels, or None where the name does not say it."""
    return _parsed(model)[1]


def _parsed(model: str) -> tuple[str, int | None, list[str]]:
    """Return a name's size, patch and further words; an empty size where it is of another kind."""
    match = _NAME.fullmatch(model.partition(".")[0])
    words = match[3].split("_")[1:] if match else []
    if match is None or not all(map(_WORD.fullmatch, words)):
        return "", None, []
    return match[1], int(match[2]), words


def _unknown() -> str:
    sizes = ", ".join(name for name in VARIANTS if " " not in name)
    return (
        "is no plain vision transformer by its name; known are vit_SIZE_patchN…, deit_… and "
        f"deit3_… of the sizes {sizes}, with class tokens, registers, LayerScale and SwiGLU as "
        "they have them, but no hybrids, rotary or relative positions or parallel blocks; for a "
        "plain one of another name write its `architecture: {embed_dim: …, depth: …}`"
    )
