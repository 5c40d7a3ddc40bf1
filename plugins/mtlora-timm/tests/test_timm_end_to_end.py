"""Adapters on vision transformers: every recipe, the equations, and the model given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from mtlora_core.adapters import Adapter, Adapters
from mtlora_core.compose import attach, compose
from mtlora_core.context import TaskContext
from mtlora_core.inputs import ImageFile
from mtlora_core.interfaces import SiteInput
from mtlora_core.load import load
from mtlora_core.model import MultiTaskModel
from mtlora_core.recipe import load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import resolve
from mtlora_core.run import run
from mtlora_core.tasks import Task
from mtlora_timm.library import timm
from mtlora_timm.testing import ARCHITECTURE, SIZE, TINY, pictures, save_tiny

EXAMPLES = Path(__file__).parents[3] / "examples"
RECIPES = sorted(
    path.stem for path in EXAMPLES.glob("*.yaml") if "\nname:" in path.read_text("utf-8")
)
TASKS = tuple(Task(name, labels=("no", "yes")) for name in ("first", "second"))
NAMES = [task.name for task in TASKS]
BLOCK = {"use": "block", "at": ["attention", "ffn"]}
HYDRA: Mapping[str, Any] = {
    "experts": {"use": "hydra", "count": 2, "rank": 2, "dropout": 0.0},
    "router": {"use": "fine-grained", "groups": 2},
    "regularizers": ["balance"],
}
LORA: Mapping[str, Any] = {"experts": {"use": "lora", "rank": 2, "dropout": 0.0}}

kinds = pytest.mark.parametrize("kind", TINY)
registry = pytest.fixture(scope="module")(Registry.discover)


def recipe_of(backbone: Mapping[str, Any], **parts: Any) -> Mapping[str, Any]:
    here = {"use": "timm", "pretrained": False, **backbone}
    return {"name": "tiny", "backbone": here, "tasks": "files", **parts}


def composed(source: Mapping[str, Any], registry: Registry) -> MultiTaskModel:
    return compose(resolve(load_recipe(source), registry, data=False), TASKS)


def randomize(adapters: Adapters) -> None:
    """Give every factor a value, as if trained for long."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_(std=0.3, generator=generator)


def logits(model: MultiTaskModel, count: int = 4) -> Tensor:
    rows = model.backbone.encode(pictures(count))
    return torch.stack(model.outputs(rows, [i % 2 for i in range(count)]))


def steps(model: MultiTaskModel, count: int = 4) -> None:
    """Take some steps on random labels, in the plainest loop there is."""
    torch.manual_seed(1)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.02)
    inputs = model.backbone.collate(model.backbone.encode(pictures(6)))
    model.train()
    for _ in range(count):
        answers = model(inputs, [0, 1, 0, 1, 0, 1]).values()
        loss = sum((answer.outputs * torch.tensor([1.0, -1.0])).mean() for answer in answers)
        (loss + sum(model.adapters.penalty_terms().values())).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("kind", ["plain", "layer-scale", "registers"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_starts_as_the_model_trains_and_is_the_same_when_loaded(
    recipe: str, kind: str, registry: Registry, tmp_path: Path
) -> None:
    source = {
        "extends": str(EXAMPLES / f"{recipe}.yaml"),
        **recipe_of(save_tiny(tmp_path, kind)),
    }
    model = composed(source, registry)
    inputs = model.backbone.collate(model.backbone.encode(pictures(4)))
    with model.adapters.serving([NAMES[i % 2] for i in range(4)]):
        fresh = model.backbone.features(inputs)
    frozen = {name: value.clone() for name, value in model.backbone.state_dict().items()}

    steps(model)

    before = composed(source, registry).trained_state()
    still = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and torch.equal(p, before[name])
    ]
    assert still == []
    again = composed({**source, "seed": 9}, registry)
    again.load_trained_state(model.trained_state())
    assert torch.equal(logits(again), logits(model))
    model.adapters.detach()
    assert torch.equal(model.backbone.features(inputs), fresh)
    assert all(torch.equal(v, frozen[name]) for name, v in model.backbone.state_dict().items())


def delta(adapter: Adapter, hidden: Tensor) -> Tensor:
    """Return an adapter's update for ``hidden``, asked of its experts alone."""
    context = TaskContext()
    routing = None if adapter.router is None else adapter.router(hidden, context)
    output = torch.zeros(*hidden.shape[:2], adapter.site.o)
    update: Tensor = adapter.experts(SiteInput(hidden, output, None, context), routing)
    return update


@kinds
def test_adapters_on_projections_are_the_model_with_the_updates_in_its_weights(
    kind: str, registry: Registry, tmp_path: Path
) -> None:
    roles = ["q", "k", "v", "o", "up", "down", *(["gate"] if kind == "swiglu" else [])]
    parts = {"placement": {"use": "component", "at": roles}, **LORA}
    model = composed(recipe_of(save_tiny(tmp_path, kind), **parts), registry)
    inputs = model.backbone.collate(model.backbone.encode(pictures(3)))
    bare = model.backbone.features(inputs)
    randomize(model.adapters)
    adapted = model.backbone.features(inputs)

    model.adapters.detach()
    for adapter in model.adapters:
        weight = model.backbone.module.get_submodule(adapter.site.adds).get_parameter("weight")
        with torch.no_grad():
            update = delta(adapter, torch.eye(adapter.site.d)[None])[0].T
            weight[adapter.site.slice or slice(None)] += update

    torch.testing.assert_close(model.backbone.features(inputs), adapted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(adapted, bare, atol=1e-2)


def test_adapters_on_queries_and_values_leave_the_keys_alone(
    registry: Registry, tmp_path: Path
) -> None:
    parts = {"placement": {"use": "component", "at": ["q", "v"], "layers": [0]}, **LORA}
    model = composed(recipe_of(save_tiny(tmp_path), **parts), registry)
    qkv = model.backbone.module.get_submodule("blocks.0.attn.qkv")
    hidden = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    bare = qkv(hidden)
    randomize(model.adapters)

    q, k, v = (qkv(hidden) - bare).split(32, dim=-1)

    first, second = model.adapters
    assert not k.any()
    torch.testing.assert_close(q, delta(first, hidden), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(v, delta(second, hidden), rtol=1e-4, atol=1e-5)


@kinds
def test_a_block_adapter_adds_to_the_residual_stream_outside_of_layer_scale(
    kind: str, registry: Registry, tmp_path: Path
) -> None:
    """x ← x + LS(F(LN x)) + Δ(LN x), Eq. 4 of mtLoRA with its place beside LayerScale chosen."""
    parts = {"placement": BLOCK, **HYDRA}
    model = composed(recipe_of(save_tiny(tmp_path, kind), **parts), registry)
    randomize(model.adapters)
    inputs = model.backbone.collate(model.backbone.encode(pictures(3)))
    adapted = model.backbone(inputs)

    model.adapters.detach()
    vit: Any = model.backbone.module
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(inputs.tensors["pixels"])))
    adapters = {adapter.site.name: adapter for adapter in model.adapters}
    for index, block in enumerate(vit.blocks):
        reads = block.norm1(x)
        x = x + block.ls1(block.attn(reads)) + delta(adapters[f"layer{index}_attention"], reads)
        reads = block.norm2(x)
        x = x + block.ls2(block.mlp(reads)) + delta(adapters[f"layer{index}_ffn"], reads)

    torch.testing.assert_close(vit.norm(x), adapted, rtol=1e-4, atol=1e-4)


@kinds
def test_rows_of_a_batch_know_nothing_of_each_other(
    kind: str, registry: Registry, tmp_path: Path
) -> None:
    model = composed(recipe_of(save_tiny(tmp_path, kind), placement=BLOCK, **HYDRA), registry)
    randomize(model.adapters)
    rows = model.backbone.encode(pictures(3))

    together = model.outputs(rows, [0, 1, 0])

    alone = [model.outputs([row], [task])[0] for row, task in zip(rows, (0, 1, 0), strict=True)]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@kinds
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_checkpointing_changes_no_gradient(
    kind: str, mode: str, registry: Registry, tmp_path: Path
) -> None:
    source = recipe_of(save_tiny(tmp_path, kind), placement=BLOCK, **HYDRA)
    found: list[Sequence[Tensor | None]] = []
    for checkpointing in (False, True):
        model = composed({**source, "train": {"checkpointing": checkpointing}}, registry)
        randomize(model.adapters)
        getattr(model, mode)()
        inputs = model.backbone.collate(model.backbone.encode(pictures(4)))
        answers = model(inputs, [0, 1, 0, 1])
        loss = torch.stack([answer.outputs.square().sum() for answer in answers.values()]).sum()
        (loss + 10 * sum(model.adapters.penalty_terms().values())).backward()
        found.append([parameter.grad for parameter in model.adapters.parameters()])

    assert all(gradient is not None for gradient in found[0])
    torch.testing.assert_close(found[1], found[0])


# On a model of the user's own


def own_model(kind: str = "layer-scale", **arguments: Any) -> Any:
    model = timm.create_model(
        TINY[kind], num_classes=3, img_size=SIZE, **{**ARCHITECTURE, **arguments}
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def own_recipe(**parts: Any) -> Mapping[str, Any]:
    return recipe_of({"model": "of one's own"}, placement=BLOCK, **HYDRA, **parts)


@kinds
@pytest.mark.parametrize("wrapped", [False, True])
def test_detaching_gives_the_model_back_bit_for_bit(
    kind: str, wrapped: bool, registry: Registry
) -> None:
    torch.manual_seed(0)
    vit = own_model(kind)
    model = nn.Sequential(nn.Identity(), vit) if wrapped else vit
    pixels = torch.randn(2, 3, SIZE, SIZE)
    bare, bits, classes = (
        model(pixels),
        dict(model.state_dict()),
        [type(m) for m in model.modules()],
    )

    adapters = attach(model, load_recipe(own_recipe()), tasks=NAMES, registry=registry)
    assert torch.equal(model(pixels), bare)
    randomize(adapters)
    assert not torch.allclose(model(pixels), bare, atol=1e-3)
    adapters.detach()

    assert torch.equal(model(pixels), bare)
    assert all(torch.equal(value, bits[name]) for name, value in model.state_dict().items())
    assert [type(m) for m in model.modules()] == classes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_drop_path_drops_the_block_and_never_its_adapter(registry: Registry) -> None:
    torch.manual_seed(0)
    model = own_model(drop_path_rate=1 - 1e-6).train()
    adapters = attach(model, load_recipe(own_recipe()), tasks=NAMES, registry=registry)
    randomize(adapters)
    seen: dict[str, Tensor] = {}
    model.blocks[1].mlp.register_forward_pre_hook(lambda m, args: seen.update(reads=args[0]))
    model.blocks[1].drop_path2.register_forward_hook(
        lambda m, args, output: seen.update(adds=output)
    )

    model(torch.randn(2, 3, SIZE, SIZE))

    (adapter,) = [each for each in adapters if each.site.name == "layer1_ffn"]
    torch.testing.assert_close(seen["adds"], delta(adapter, seen["reads"]), rtol=1e-4, atol=1e-5)


def test_a_run_on_pictures_is_scored_kept_and_answers(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path / "cache"))
    labels = np.arange(40) % 2
    noise = np.random.default_rng(0).integers(0, 100, (40, SIZE, SIZE), dtype=np.uint8)
    np.savez(
        tmp_path / "bright.npz",
        images=noise + 120 * labels[:, None, None].astype(np.uint8),
        labels=labels,
        split=np.arange(40) // 10 % 4 % 3,
    )
    source = {
        "name": "pictures",
        "backbone": {"use": "timm", **save_tiny(tmp_path, "layer-scale")},
        "placement": BLOCK,
        **HYDRA,
        "tasks": {
            "use": "files",
            "root": str(tmp_path),
            "entries": [{"name": "bright", "train": "bright.npz"}],
        },
        "train": {"batch_size": 8, "learning_rate": 3e-3, "head_learning_rate": 1e-2},
    }

    *_, finished = run(
        resolve(load_recipe(source), registry), tmp_path / "run", steps=60, device="cpu"
    )

    row = finished["test"]["bright"]
    assert row["value"] >= 0.9
    assert row["majority"] == 0.5
    assert "tfidf" not in row
    dark, light = (Pillow.new("L", (40, 30), value) for value in (50, 170))
    files = [tmp_path / "dark.png", tmp_path / "light.jpg"]
    for picture, file in zip((dark, light), files, strict=True):
        picture.save(file)
    answers = load(tmp_path / "run", device="cpu", registry=registry).predict(
        [ImageFile(str(file)) for file in files]
    )
    assert [answer.label for answer in answers] == ["0", "1"]
