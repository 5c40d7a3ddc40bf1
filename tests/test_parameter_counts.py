"""Trainable parameters against the formulas of the papers, site by site and for LLaMA-2-7B."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes import text_recipes
from torch import nn
from toys import toy_registry

import mtlora_torchjd
import mtlora_transformers
from mtlora_core.compose import build_adapters
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Bound, resolve
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
    PerTaskOptions,
    RankOneOptions,
)
from mtlora_experts.per_task import PerTask
from mtlora_experts.rank_one import RankOne
from mtlora_placements import block, component
from mtlora_routers.fine_grained import FineGrained
from mtlora_routers.options import (
    FineGrainedOptions,
    RankTopKOptions,
    TaskEmbeddingOptions,
    TaskOptions,
    TokenOptions,
    TopKOptions,
)
from mtlora_routers.rank_top_k import RankTopK
from mtlora_routers.task import Task
from mtlora_routers.task_embedding import TaskEmbedding
from mtlora_routers.token import Token
from mtlora_routers.top_k import TopK
from mtlora_transformers.testing import tiny_config

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


def test_per_task_has_a_lora_for_each_task() -> None:
    assert size(PerTask(PerTaskOptions(rank=3), wide_site(), TASKS)) == 8 * 3 * (12 + 24)


@pytest.mark.parametrize("partition", [1, 3])
def test_smora_has_those_of_one_lora_and_a_row_for_each_partition(partition: int) -> None:
    site = wide_site()
    experts = RankOne(RankOneOptions(count=6), site, ())
    router = RankTopK(RankTopKOptions(k=2, partition=partition), site, 6, ())

    assert size(experts, router) == 6 * (12 + 24) + 6 // partition * 12


def test_a_sparse_router_has_a_row_for_each_expert() -> None:
    assert size(TopK(TopKOptions(), wide_site(), 5, ())) == 5 * 12


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


# Every recipe: the formulas of the papers, by part


def own_of(options: Any, d: int, o: int, use: str) -> int:
    """Return the parameters that experts have at a site from ``d`` to ``o``."""
    pair = (d + o) * getattr(options, "rank", 1)
    formulas: Mapping[str, Callable[[], int]] = {
        "lora": lambda: pair,
        "per-task": lambda: len(TASKS) * pair,
        "dora": lambda: pair + o,
        "multilora": lambda: options.count * (pair + o),
        "moe": lambda: pair,
        "hydra": lambda: options.rank * (d + options.count * o),
        "mtl": lambda: options.rank * (d + options.count * o + len(TASKS) * options.rank),
        "rank-one": lambda: options.count * pair,
    }
    return formulas[use]()


def routing_of(options: Any, d: int, e: int, use: str) -> int:
    """Return the parameters that a router of ``e`` experts has at a site that reads ``d``."""
    formulas: Mapping[str, Callable[[], int]] = {
        "token": lambda: e * d,
        "fine-grained": lambda: options.groups * e * d,
        "task": lambda: len(TASKS) * e,
        "task-embedding": lambda: (len(TASKS) + 1 + e) * options.width,
        "top-k": lambda: e * d,
        "rank-top-k": lambda: e // options.partition * d,
    }
    return formulas[use]()


def expected_at(site: Site, experts: Bound, router: Bound | None) -> int:
    own = own_of(experts.options, site.d, site.o, experts.component.name)
    if router is None:
        return own
    count = experts.options.model_dump()["count"]
    return own + routing_of(router.options, site.d, count, router.component.name)


LLAMA_2_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama-2-7b": LLAMA_2_7B,
    **{f"tiny-{family}": tiny_config(family).to_dict() for family in ("bert", "gpt2", "llama")},
}
MILLIONS = {
    "lora": 8.39,
    "single-task": 67.11,
    "hydralora": 75.50,
    "uniform-orthogonality": 75.50,
    "mtlora-block": 37.75,
    "mtlora-block-spectral": 37.75,
    "mtlora-block-routing": 39.85,
    "mtlora": 39.85,
    "mtl-lora": 33.82,
}
"""What papers report for LLaMA-2-7B: mtLoRA's Table 2; MTL-LoRA's comparison at rank 16 and its
LoRA, here on two projections instead of four; single-task LoRA is that for each of eight tasks."""


def built(path: Path, config: Mapping[str, Any], folder: Path) -> tuple[int, int]:
    """Return how many parameters a recipe's adapters have, and how many they should."""
    (folder / "config.json").write_text(json.dumps(config))
    changes = [f"backbone.model={folder}", "backbone.max_length=16", "tasks.use=toy"]
    recipe = load_recipe(path, changes)
    registry = toy_registry(transformers=mtlora_transformers, torchjd=mtlora_torchjd)
    plan = resolve(recipe, registry, data=False)
    with torch.device("meta"):
        adapters = build_adapters(plan, TASKS)
    return size(adapters), sum(expected_at(s, plan.experts, plan.router) for s in plan.sites)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", text_recipes(), ids=lambda path: path.stem)
def test_every_recipe_has_the_parameters_of_its_formula(
    path: Path, shape: str, tmp_path: Path
) -> None:
    found, expected = built(path, SHAPES[shape], tmp_path)

    assert found == expected


@pytest.mark.parametrize("name", MILLIONS)
def test_recipes_have_the_parameters_that_papers_report_for_llama_2_7b(
    name: str, tmp_path: Path
) -> None:
    (path,) = (path for path in text_recipes() if path.stem == name)

    assert built(path, LLAMA_2_7B, tmp_path)[0] / 1e6 == pytest.approx(MILLIONS[name], abs=0.005)
