"""Toy parts for tests of the core: a small encoder and tasks that it can learn, all in memory.

A plugin as any other; ``toy_registry()`` holds it beside the installed ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtlora_core.component import Component
from mtlora_core.context import Contexts
from mtlora_core.hookspecs import hookimpl
from mtlora_core.inputs import Input, texts_of
from mtlora_core.interfaces import Backbone, Encoded, Inputs
from mtlora_core.options import BackboneOptions, Options
from mtlora_core.registry import Registry
from mtlora_core.sites import BackboneShape, Block, Layer, Projection
from mtlora_core.tasks import Example, Task, TaskData

WORDS = 64


class ToyBackboneOptions(BackboneOptions):
    """Options of the toy encoder."""

    width: int = 16
    layers: int = 2

    def shape(self) -> BackboneShape:
        """Describe the encoder."""
        return toy_shape(self.width, self.layers)

    @classmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        """Describe a :class:`ToyEncoder`."""
        return toy_shape(module.width, len(module.layers))


def toy_shape(width: int, layers: int, *, causal: bool = False) -> BackboneShape:
    """Return the shape of the toy encoder; its FFN needs two modules, as BERT's does."""

    def layer(i: int) -> Layer:
        path = f"layers.{i}"
        projections = {r: Projection(f"{path}.{r}", width, width) for r in ("q", "k", "v", "o")}
        return Layer(
            attention=Block(f"{path}.q", f"{path}.o"),
            ffn=Block(f"{path}.up", f"{path}.down"),
            projections=projections,
        )

    return BackboneShape("toy", width, tuple(layer(i) for i in range(layers)), causal)


class ToyLayer(nn.Module):
    """Attention and an FFN, with the residual stream of a pre-norm encoder."""

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return ``[b, t, d]``."""
        scores = self.q(x) @ self.k(x).mT / math.sqrt(x.shape[-1])
        scores = scores.masked_fill(~mask[:, None, :], -1e4)
        if self.causal:
            scores = scores + torch.full_like(scores, -1e5).triu(1)
        x = x + self.o(scores.softmax(-1) @ self.v(x))
        update: Tensor = self.down(torch.tanh(self.up(x)))
        return x + update


class ToyEncoder(nn.Module):
    """Embeds word ids and runs the layers, checkpointed where asked to."""

    def __init__(self, width: int, layers: int, *, causal: bool = False) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(WORDS, width)
        self.layers = nn.ModuleList(ToyLayer(width, causal=causal) for _ in range(layers))
        self.context_fn: Callable[[], Contexts] | None = None

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return ``[b, t, d]``."""
        x: Tensor = self.embed(ids)
        for layer in self.layers:
            if self.context_fn is not None and self.training:
                x = checkpoint(layer, x, mask, use_reentrant=False, context_fn=self.context_fn)
            else:
                x = layer(x, mask)
        return x


class ToyBackbone(Backbone):
    """The encoder with a tokenizer that counts letters."""

    module: ToyEncoder

    def __init__(self, options: ToyBackboneOptions) -> None:
        super().__init__()
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(7)
        self.module = ToyEncoder(options.width, options.layers)
        torch.set_rng_state(before)
        self.width = options.width

    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        """Encode words by their letters."""
        texts = [text if isinstance(text, str) else " | ".join(text) for text in texts_of(inputs)]
        ids = [[sum(map(ord, w)) % WORDS for w in text.split()] for text in texts]
        limit = max_length or 12
        return [Encoded({"ids": i[:limit]}, min(len(i), limit), len(i) > limit) for i in ids]

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad to the longest."""
        longest = max(row.length for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : row.length] = torch.tensor(row.features["ids"])
            mask[i, : row.length] = True
        return Inputs({"ids": ids}, mask)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the last hidden states."""
        hidden: Tensor = self.module(inputs.tensors["ids"], inputs.mask)
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over real tokens."""
        real = mask[..., None].to(hidden.dtype)
        return (hidden * real).sum(1) / real.sum(1)

    def checkpoint(self, context_fn: Callable[[], Contexts]) -> None:
        """Recompute every layer."""
        self.module.context_fn = context_fn


def build_backbone(options: ToyBackboneOptions, *, meta: bool = False) -> ToyBackbone:
    """Build the encoder."""
    return ToyBackbone(options)


class ToyTasksOptions(Options):
    """Options of the toy tasks."""

    train: int = 40
    """Examples of the first task; each further one has half as many."""
    count: int = 3
    number: bool = False
    """Makes the last task a regression."""
    noise: int = 0
    """Changes the words, and so the data."""


def build_tasks(options: ToyTasksOptions, *, seed: int) -> list[TaskData]:
    """Return tasks that ask whether a word of their own occurs, or how often."""
    return [_task(t, options) for t in range(options.count)]


def _task(t: int, options: ToyTasksOptions) -> TaskData:
    regression = options.number and t == options.count - 1
    size = max(options.train >> t, 6)
    rows = [_example(t, i, regression, options.noise) for i in range(size + 24)]
    task = (
        Task(f"toy{t}", "regression", metric="spearman")
        if regression
        else Task(f"toy{t}", labels=("no", "yes"))
    )
    return TaskData(task, rows[:size], rows[size : size + 12], rows[size + 12 :])


def _example(t: int, i: int, regression: bool, noise: int) -> Example:
    filler = " ".join("abcdefgh"[(i * 5 + k * (t + 2) + noise) % 8] * 2 for k in range(2 + i % 5))
    hits = i % 3 if regression else i % 2
    return Example(f"{filler}{f' mark{t}' * hits}", hits)


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the toys."""
    return [
        Component("backbone", "toy", "toys:ToyBackboneOptions", "toys:build_backbone", "a toy"),
        Component("tasks", "toy", "toys:ToyTasksOptions", "toys:build_tasks", "toys"),
    ]


def toy_registry(**more: object) -> Registry:
    """Return a registry of the toys, the first-party parts that need no files, and ``more``."""
    import toys

    import mtlora_experts
    import mtlora_placements
    import mtlora_regularizers
    import mtlora_routers

    own: dict[str, object] = {
        "toys": toys,
        "experts": mtlora_experts,
        "placements": mtlora_placements,
        "regularizers": mtlora_regularizers,
        "routers": mtlora_routers,
    }
    return Registry({**own, **more})


def toy_recipe(**changes: Any) -> Mapping[str, Any]:
    """Return a recipe of mtLoRA's parts over the toys, with ``changes`` at its top level."""
    return {
        "name": "toy",
        "backbone": {"use": "toy"},
        "placement": {"use": "block", "at": ["ffn"]},
        "experts": {"use": "hydra", "count": 4, "rank": 4, "alpha": 16, "dropout": 0.1},
        "router": {"use": "fine-grained", "groups": 2},
        "regularizers": ["spectral-aware", {"use": "balance", "weight": 0.01}],
        "tasks": {"use": "toy"},
        "train": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2},
        **changes,
    }
