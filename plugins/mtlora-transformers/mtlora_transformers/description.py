"""From a configuration and a row of the family table to a backbone's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtlora_core.errors import CompositionError
from mtlora_core.sites import BackboneShape, Block, Layer, Projection

from .blocks import Blocks
from .families import FAMILIES, Family, Linear, Width


def describe(
    config: Mapping[str, Any], blocks: Blocks | None = None, prefix: str = ""
) -> BackboneShape:
    """Return the shape of the model that a configuration is of.

    Args:
        config: The values of ``config.json``; what it leaves out has the family's default.
        blocks: Where the blocks are, instead of the table's row.
        prefix: Put before every module's name, such as ``model.`` inside a model with a head.

    Raises:
        CompositionError: the family is unknown and ``blocks`` is None, or a width is no number.
    """
    kind = str(config.get("model_type"))
    if blocks is not None:
        return _written(kind, blocks, prefix)
    if kind not in FAMILIES:
        raise CompositionError(_unknown(kind, config))
    return _tabled(kind, config, prefix)


def layers_of(config: Mapping[str, Any]) -> str | None:
    """Return the path of the list of layers, or None where the family is unknown."""
    family = FAMILIES.get(str(config.get("model_type")))
    return None if family is None else family.layers


def positions_of(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens the model has positions for, or None where that is unknown."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        found = config.get("max_position_embeddings")
        return found if isinstance(found, int) else None
    if family.vision is not None:
        return None  # fitted to the picture
    read = _Reader(config, family)
    reserved = 1 + read.number("pad_token_id", least=0) if family.reserved_positions else 0
    return read.number("max_position_embeddings") - reserved


@dataclass(frozen=True)
class Grid:
    """How a model cuts a picture into tokens."""

    patch: int
    """Side of a patch in pixels."""
    before: int
    """Tokens that stand before those of the patches."""
    asked_to_interpolate: bool
    """Whether a forward is told to fit its positions to the picture."""

    def tokens(self, side: int) -> int:
        """Return the tokens of a square of ``side`` pixels."""
        return (side // self.patch) ** 2 + self.before


def grid_of(config: Mapping[str, Any]) -> Grid | None:
    """Return how the model of a configuration cuts pictures; None where it reads none."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None or family.vision is None:
        return None
    patch = _Reader(config, family).number("patch_size")
    registers = int(config.get("num_register_tokens", 0))
    return Grid(patch, family.vision.before + registers, family.vision.asked_to_interpolate)


def _tabled(kind: str, config: Mapping[str, Any], prefix: str) -> BackboneShape:
    family = FAMILIES[kind]
    read = _Reader(config, family)
    widths = _widths(read)
    if config.get("use_swiglu_ffn"):  # DINOv2's largest: projections that no row has
        family = replace(family, projections=_without_ffn(family))
    layers = range(read.number("num_hidden_layers"))
    return BackboneShape(
        family=kind,
        width=widths["residual"],
        layers=tuple(_layer(family, widths, f"{prefix}{family.layers}.{i}.") for i in layers),
        causal=_causal(family, config),
        reads="text" if family.vision is None else "image",
    )


def _without_ffn(family: Family) -> dict[str, Linear]:
    return {role: each for role, each in family.projections.items() if role in ("q", "k", "v", "o")}


def _causal(family: Family, config: Mapping[str, Any]) -> bool:
    # Gemma and BERT can each be configured the other way round.
    if family.causal:
        return not config.get("use_bidirectional_attention")
    return bool(config.get("is_decoder"))


def _layer(family: Family, widths: Mapping[Width, int], at: str) -> Layer:
    return Layer(
        attention=_block(family.attention, at),
        ffn=_block(family.ffn, at),
        projections={
            role: _projection(linear, widths, at) for role, linear in family.projections.items()
        },
    )


def _block(block: Block, at: str) -> Block:
    return Block(at + block.reads, at + block.adds)


def _projection(linear: Linear, widths: Mapping[Width, int], at: str) -> Projection:
    d, o = widths[linear.d], widths[linear.o]
    return Projection(at + linear.module, d, o, None if linear.part is None else linear.part * o)


def _widths(read: _Reader) -> dict[Width, int]:
    width, heads = read.number("hidden_size"), read.number("num_attention_heads")
    head = read.number("head_dim", otherwise=width // heads)
    return {
        "residual": width,
        "heads": heads * head,
        "keys": read.number("num_key_value_heads", otherwise=heads) * head,
        "inner": read.number("intermediate_size", otherwise=int(width * read.ratio)),
    }


@dataclass(frozen=True)
class _Reader:
    """Reads a configuration under its family's names and defaults."""

    config: Mapping[str, Any]
    family: Family

    @property
    def ratio(self) -> float:
        """How much wider the FFN's inside is, where its own width is not said."""
        return float(self.config.get("mlp_ratio", 4))

    def number(self, key: str, otherwise: int | None = None, least: int = 1) -> int:
        """Return the whole number of ``key``; ``otherwise`` where it is null."""
        name = self.family.names.get(key, key)
        default = self.config.get(key, self.family.defaults.get(key))
        value = self.config.get(name, default)
        value = otherwise if value is None else value
        if type(value) is not int or value < least:
            raise CompositionError(
                f"the configuration's {name!r} must be a whole number of at least {least}, "
                f"not {value!r}"
            )
        return value


def _written(kind: str, blocks: Blocks, prefix: str) -> BackboneShape:
    return BackboneShape(
        family=kind,
        width=blocks.width,
        layers=tuple(
            blocks.layer(f"{prefix}{blocks.layers}.{index}.") for index in range(blocks.count)
        ),
        causal=blocks.causal,
    )


def _unknown(kind: str, config: Mapping[str, Any]) -> str:
    count, width = config.get("num_hidden_layers", 12), config.get("hidden_size", 768)
    return (
        f"model type {kind!r} is not in the family table ({', '.join(FAMILIES)}); say where its "
        "blocks are, with the names that print(model) shows, such as "
        f"blocks: {{layers: layers, count: {count}, width: {width}, causal: true, "
        "attention: {reads: self_attn}, ffn: {reads: mlp}, "
        f"projections: {{q: {{module: self_attn.q_proj, d: {width}, o: {width}}}}}}}"
    )
