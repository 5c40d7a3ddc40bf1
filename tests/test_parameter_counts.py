"""Trainable parameters against the formula of mtLoRA: r d + e o r + e g d at every site."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlora_core.sites import BackboneShape, Block, Layer, Projection, Site
from mtlora_core.testing import tiny_shape
from mtlora_experts.hydra import Hydra
from mtlora_experts.lora import Lora
from mtlora_experts.options import HydraOptions, LoraOptions
from mtlora_placements import block, component
from mtlora_routers.fine_grained import FineGrained
from mtlora_routers.options import FineGrainedOptions, TokenOptions
from mtlora_routers.token import Token


def llama_2_7b() -> BackboneShape:
    def layer(number: int) -> Layer:
        path = f"model.layers.{number}"
        return Layer(
            attention=Block(f"{path}.self_attn", f"{path}.self_attn"),
            ffn=Block(f"{path}.mlp", f"{path}.mlp"),
            projections={
                role: Projection(f"{path}.self_attn.{role}_proj", 4096, 4096) for role in "qkvo"
            },
        )

    return BackboneShape("llama", 4096, tuple(map(layer, range(32))), causal=True)


def parameters(sites: Sequence[Site], count: int, rank: int, groups: int | None) -> int:
    """Return how many parameters hydra and its router have, built without memory."""
    options, total = HydraOptions(count=count, rank=rank), 0
    with torch.device("meta"):
        for site in sites:
            router = (
                Token(TokenOptions(), site, count, ())
                if groups is None
                else FineGrained(FineGrainedOptions(groups=groups), site, count, ())
            )
            parts = (Hydra(options, site, ()), router)
            total += sum(p.numel() for part in parts for p in part.parameters())
    return total


@pytest.mark.parametrize(
    ("place", "groups", "expected"),
    [
        ("q and v", None, 75_497_472),
        ("block ffn", None, 37_748_736),
        ("block ffn", 1, 37_748_736),
        ("block ffn", 2, 39_845_888),
    ],
)
def test_counts_are_the_papers_for_llama_2_7b(
    place: str, groups: int | None, expected: int
) -> None:
    shape = llama_2_7b()
    sites = (
        component.place(component.ComponentOptions(at=("q", "v")), shape)
        if place == "q and v"
        else block.place(block.BlockOptions(at=("ffn",)), shape)
    )

    assert parameters(sites, 16, 16, groups) == expected


@settings(max_examples=30, deadline=None)
@given(
    layers=st.integers(1, 3),
    width=st.sampled_from([8, 12, 16]),
    count=st.integers(1, 5),
    rank=st.integers(1, 6),
    groups=st.sampled_from([1, 2, 4]),
    role=st.sampled_from(["q", "up", "down"]),
)
def test_counts_follow_the_formula(
    layers: int, width: int, count: int, rank: int, groups: int, role: str
) -> None:
    shape = tiny_shape(layers, width)
    sites = component.place(component.ComponentOptions.model_validate({"at": [role]}), shape)
    d, o = {"q": (width, width), "up": (width, 2 * width), "down": (2 * width, width)}[role]

    at_one_site = rank * d + count * o * rank + count * groups * d
    assert parameters(sites, count, rank, groups) == layers * at_one_site


def test_lora_has_r_times_both_widths() -> None:
    (site,) = component.place(
        component.ComponentOptions(at=("up",)), tiny_shape(layers=1, width=12)
    )

    made = Lora(LoraOptions(rank=3), site, ())

    assert sum(math.prod(p.shape) for p in made.parameters()) == 3 * (12 + 24)
