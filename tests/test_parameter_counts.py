"""Trainable parameters against the formulas of the papers, site by site and for LLaMA-2-7B."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mtlora_core.sites import BackboneShape, Block, Layer, Projection, Site
from mtlora_core.testing import tiny_shape
from mtlora_experts.dora import Dora
from mtlora_experts.hydra import Hydra
from mtlora_experts.lora import Lora
from mtlora_experts.moe import Moe
from mtlora_experts.mtl import Mtl
from mtlora_experts.multilora import MultiLora
from mtlora_experts.options import (
    DoraOptions,
    HydraOptions,
    LoraOptions,
    MoeOptions,
    MtlOptions,
    MultiLoraOptions,
)
from mtlora_placements import block, component
from mtlora_routers.fine_grained import FineGrained
from mtlora_routers.options import (
    FineGrainedOptions,
    TaskEmbeddingOptions,
    TaskOptions,
    TokenOptions,
)
from mtlora_routers.task import Task
from mtlora_routers.task_embedding import TaskEmbedding
from mtlora_routers.token import Token

TASKS = [f"task{number}" for number in range(8)]


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


def size(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def wide_site() -> Site:
    """Return a site whose widths differ: 12 to 24."""
    (site,) = component.place(
        component.ComponentOptions(at=("up",)), tiny_shape(layers=1, width=12)
    )
    return site


def test_lora_has_r_times_both_widths() -> None:
    assert size(Lora(LoraOptions(rank=3), wide_site(), ())) == 3 * (12 + 24)


def test_dora_has_a_magnitude_for_each_output_more() -> None:
    assert size(Dora(DoraOptions(rank=3), wide_site(), ())) == 3 * (12 + 24) + 24


def test_multilora_has_each_modules_factors_and_output_scales() -> None:
    made = MultiLora(MultiLoraOptions(count=5, rank=3), wide_site(), ())

    assert size(made) == 5 * (3 * 12 + 24 * 3 + 24)


def test_moelora_has_those_of_one_lora_an_embedding_and_a_gate() -> None:
    site = wide_site()
    experts = Moe(MoeOptions(count=3, rank=6), site, TASKS)
    router = TaskEmbedding(TaskEmbeddingOptions(), site, 3, TASKS)

    assert size(experts, router) == 6 * (12 + 24) + (8 + 1) * 64 + 64 * 3


@pytest.mark.parametrize(("transform", "own"), [("full", 4 * 4), ("diagonal", 4)])
def test_mtl_lora_has_a_transform_and_a_row_of_weights_for_each_task(
    transform: Literal["full", "diagonal"], own: int
) -> None:
    site = wide_site()
    experts = Mtl(MtlOptions(count=3, rank=4, transform=transform), site, TASKS)
    router = Task(TaskOptions(), site, 3, TASKS)

    assert size(experts, router) == 4 * 12 + 3 * 24 * 4 + 8 * own + 8 * 3


def mtl_lora(site: Site, rank: int) -> list[nn.Module]:
    experts = Mtl(MtlOptions(count=3, rank=rank), site, TASKS)
    return [experts, Task(TaskOptions(), site, 3, TASKS)]


def lora(site: Site, rank: int) -> list[nn.Module]:
    return [Lora(LoraOptions(rank=rank), site, TASKS)]


def multilora(site: Site, rank: int) -> list[nn.Module]:
    return [MultiLora(MultiLoraOptions(count=3, rank=rank), site, TASKS)]


@pytest.mark.parametrize(
    ("method", "rank", "millions"),
    [
        (mtl_lora, 4, 8.41),
        (mtl_lora, 8, 16.85),
        (mtl_lora, 16, 33.82),
        (lora, 8, 8.39),
        (lora, 16, 16.78),
        (lora, 32, 33.55),
        (multilora, 8, 26.7),
    ],
)
def test_counts_are_those_of_mtl_loras_comparison_on_llama_2_7b(
    method: Callable[[Site, int], list[nn.Module]], rank: int, millions: float
) -> None:
    sites = component.place(component.ComponentOptions(at=("q", "k", "v", "o")), llama_2_7b())

    with torch.device("meta"):
        total = sum(size(*method(site, rank)) for site in sites)

    assert total / 1e6 == pytest.approx(millions, abs=0.05 if millions == 26.7 else 0.005)
