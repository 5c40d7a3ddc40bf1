"""Adapters on real model classes: identity, training, saving, detaching, decoding, copies.

Each family of the backbone plugin is a tiny random model of its transformers class.
"""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from recipes import text_recipes
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toys import toy_recipe, toy_registry

import mtlora_torchjd
import mtlora_transformers
from mtlora_core.adapters import Adapters
from mtlora_core.component import Component
from mtlora_core.compose import attach, compose, load_tasks
from mtlora_core.context import TaskContext
from mtlora_core.errors import CompositionError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.inputs import Text
from mtlora_core.interfaces import Inputs, Router, Routing
from mtlora_core.load import load
from mtlora_core.model import MultiTaskModel
from mtlora_core.options import Options
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.runfolder import RunFolder
from mtlora_core.sites import Site
from mtlora_core.tasks import Task
from mtlora_core.train import fit
from mtlora_experts.dora import Dora
from mtlora_transformers.library import transformers
from mtlora_transformers.testing import families_reading, save_tiny, tiny_config

COMPONENT = {"use": "component", "at": ["q", "v"]}
BLOCK = {"use": "block", "at": ["attention", "ffn"]}
HYDRA = {"use": "hydra", "count": 2, "rank": 2, "alpha": 4, "dropout": 0.0}
METHODS: Mapping[str, dict[str, Any]] = {
    "dora": {"experts": {"use": "dora", "rank": 2}, "router": None},
    "multilora": {"experts": {"use": "multilora", "rank": 2}, "router": None},
    "moelora": {
        "experts": {"use": "moe", "count": 2, "rank": 4, "dropout": 0},
        "router": "task-embedding",
    },
    "mtl-lora": {"experts": {"use": "mtl", "rank": 2, "dropout": 0}, "router": "task"},
    "single-task": {"experts": {"use": "per-task", "rank": 2}, "router": None},
    "smora": {
        "experts": {"use": "rank-one", "count": 4, "dropout": 0},
        "router": {"use": "rank-top-k", "k": 2},
    },
    "sparse": {
        "experts": {**HYDRA, "count": 3},
        "router": "top-k",
        "regularizers": ["load-balancing"],
    },
}
TASKS = ("first", "second")

IDS = torch.tensor([[4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])

families = pytest.mark.parametrize("family", families_reading("text"))
placements = pytest.mark.parametrize("placement", [COMPONENT, BLOCK], ids=["component", "block"])


class ByTask(Router):
    """Gives every row the expert of its own task: a mix-up of rows cannot go unnoticed."""

    def __init__(self, options: Options, site: Site, experts: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return one-hot weights ``[b, e]``."""
        chosen = nn.functional.one_hot(context.task_ids_for(hidden), self.experts)
        return Routing(chosen.to(hidden.dtype), "sequence")


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the router of these tests."""
    here = __name__
    return [
        Component(
            kind="router",
            name="by-task",
            options="mtlora_core.options:Options",
            build=f"{here}:ByTask",
            summary="an expert a task",
            capabilities={
                "per": "sequence",
                "needs_task": True,
                "normalized": True,
                "causal": True,
                "learned": False,
            },
        )
    ]


REGISTRY = toy_registry(
    transformers=mtlora_transformers, torchjd=mtlora_torchjd, here=sys.modules[__name__]
)


def recipe_of(folder: Path | None = None, **changes: Any) -> Mapping[str, Any]:
    model = {"use": "transformers", "model": str(folder or "unread"), "max_length": 16}
    values = {"experts": HYDRA, "router": "token", "regularizers": ["balance"], **changes}
    return toy_recipe(backbone=model, **values)


def pretrained(folder: Path, family: str) -> Any:
    """Return a tiny model without a task head, frozen."""
    model = transformers.AutoModel.from_pretrained(save_tiny(folder, family))
    return model.requires_grad_(False)


def on(model: nn.Module, **changes: Any) -> Adapters:
    return attach(model, load_recipe(recipe_of(**changes)), tasks=TASKS, registry=REGISTRY)


def composed(folder: Path, **changes: Any) -> MultiTaskModel:
    tasks = [Task(name, labels=("no", "yes")) for name in TASKS]
    plan = resolve(load_recipe(recipe_of(folder, **changes)), REGISTRY)
    return compose(plan, tasks)


def hidden_states(model: Any, adapters: Adapters | None = None) -> Tensor:
    """Return the last hidden state ``[b, t, d]`` of real tokens."""
    if adapters is None:
        output = model(IDS, attention_mask=MASK)
    else:
        with adapters.serving(TASKS, MASK):
            output = model(IDS, attention_mask=MASK)
    hidden: Tensor = output.last_hidden_state
    return hidden[MASK.bool()]


def train(model: Any, adapters: Adapters, steps: int = 4) -> None:
    """Take some steps towards a direction, in the plainest loop there is."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(adapters.parameters(), lr=0.05)
    for _ in range(steps):
        hidden = hidden_states(model, adapters)
        direction = torch.randn(hidden.shape, generator=generator)
        loss = (hidden * direction).mean() + sum(adapters.penalty_terms().values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def randomize(adapters: Adapters) -> None:
    """Give every factor a value, as if trained for long."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_(std=0.5, generator=generator)


def frozen_bits(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# On a model of the user's own


@families
@placements
def test_fresh_adapters_leave_the_output_bit_for_bit(
    family: str, placement: Any, tmp_path: Path
) -> None:
    model = pretrained(tmp_path, family)
    bare = hidden_states(model)

    adapters = on(model, placement=placement)

    assert len(list(adapters)) == 4  # two in each of two layers
    assert torch.equal(hidden_states(model, adapters), bare)


@families
@placements
def test_training_moves_every_adapter_and_nothing_of_the_model(
    family: str, placement: Any, tmp_path: Path
) -> None:
    model = pretrained(tmp_path, family)
    bare, bits = hidden_states(model), frozen_bits(model)
    adapters = on(model, placement=placement)
    before = frozen_bits(adapters)

    train(model, adapters)

    assert not torch.allclose(hidden_states(model, adapters), bare, atol=1e-3)
    assert_equal(frozen_bits(model), bits)
    still = [n for n, value in adapters.state_dict().items() if torch.equal(value, before[n])]
    assert still == []


@families
@placements
def test_adapters_that_were_saved_give_the_same_output_again(
    family: str, placement: Any, tmp_path: Path
) -> None:
    model = pretrained(tmp_path, family)
    again = copy.deepcopy(model)
    adapters = on(model, placement=placement)
    train(model, adapters)
    save_file(adapters.state_dict(), tmp_path / "adapters.safetensors")

    loaded = on(again, placement=placement, seed=9)
    assert not torch.allclose(hidden_states(again, loaded), hidden_states(model, adapters))
    loaded.load_state_dict(load_file(tmp_path / "adapters.safetensors"))

    assert torch.equal(hidden_states(again, loaded), hidden_states(model, adapters))


@families
@pytest.mark.parametrize("method", METHODS)
def test_each_method_starts_as_the_model_trains_and_is_the_same_when_loaded(
    method: str, family: str, tmp_path: Path
) -> None:
    model = pretrained(tmp_path, family)
    bare = hidden_states(model)
    parts = {"placement": COMPONENT, "regularizers": [], **METHODS[method]}
    adapters = on(model, **parts)
    before = frozen_bits(adapters)

    assert torch.equal(hidden_states(model, adapters), bare)
    train(model, adapters)
    assert all(not torch.equal(value, before[name]) for name, value in adapters.named_parameters())
    trained = hidden_states(model, adapters)
    adapters.detach()
    loaded = on(model, **parts)
    loaded.load_state_dict(adapters.state_dict())
    assert torch.equal(hidden_states(model, loaded), trained)


@families
def test_dora_is_the_model_with_each_adapted_weight_in_place_of_the_frozen_one(
    family: str, tmp_path: Path
) -> None:
    model = pretrained(tmp_path, family)
    adapters = on(model, placement=COMPONENT, regularizers=[], **METHODS["dora"])
    randomize(adapters)
    adapted = hidden_states(model, adapters)

    adapters.detach()
    for adapter in adapters:
        assert isinstance(adapter.experts, Dora)
        module = model.get_submodule(adapter.site.adds)
        weight = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
        own = weight[adapter.site.slice or slice(None)]
        own.copy_(recomposed(adapter.experts, own))

    torch.testing.assert_close(hidden_states(model), adapted, rtol=1e-4, atol=1e-4)


def recomposed(dora: Dora, weight: Tensor) -> Tensor:
    """Return the weight that DoRA stands for: ``m / ‖V‖ · V``, row by row."""
    direction = weight + dora.scale * dora.up.detach() @ dora.down.detach()
    magnitude = weight.norm(dim=1) + dora.magnitude_change.detach()
    adapted: Tensor = (magnitude / direction.norm(dim=1))[:, None] * direction
    return adapted


@families
@placements
def test_detaching_gives_the_model_back_bit_for_bit(
    family: str, placement: Any, tmp_path: Path
) -> None:
    model = pretrained(tmp_path, family)
    bare, bits, kind = hidden_states(model), frozen_bits(model), type(model)
    adapters = on(model, placement=placement)
    train(model, adapters)

    adapters.detach()

    assert torch.equal(hidden_states(model), bare)
    assert_equal(frozen_bits(model), bits)
    assert type(model) is kind
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@families
def test_a_model_with_a_task_head_takes_adapters_too(family: str) -> None:
    headed: Any = (
        transformers.AutoModelForSequenceClassification
        if "bert" in family
        else transformers.AutoModelForCausalLM
    )
    model = headed.from_config(tiny_config(family)).eval()
    bare = model(IDS, attention_mask=MASK).logits
    adapters = on(model, placement=BLOCK)

    with adapters.serving(TASKS, MASK):
        assert torch.equal(model(IDS, attention_mask=MASK).logits, bare)
        randomize(adapters)
        assert not torch.allclose(model(IDS, attention_mask=MASK).logits, bare, atol=1e-3)


def test_gpt2s_query_and_value_adapters_leave_its_keys_alone(tmp_path: Path) -> None:
    model = pretrained(tmp_path, "gpt2")
    fused = model.h[0].attn.c_attn
    reads = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(3))
    bare = fused(reads)
    adapters = on(model, placement=COMPONENT)
    randomize(adapters)

    with adapters.serving(TASKS, MASK):
        changed = fused(reads) != bare

    q, k, v = changed.split(32, dim=-1)
    assert q.any()
    assert v.any()
    assert not k.any()


# Composed


def composed_features(model: MultiTaskModel, inputs: Inputs, tasks: Sequence[int]) -> Tensor:
    with model.adapters.context.serving(torch.tensor(tasks), inputs.mask):
        features: Tensor = model.backbone.features(inputs)
    return features


@families
@placements
def test_a_composed_model_starts_as_its_backbone_and_keeps_samples_apart(
    family: str, placement: Any, tmp_path: Path
) -> None:
    texts: list[Text] = ["a b c d e f g", "h", ("i j", "k l m")]
    model = composed(save_tiny(tmp_path, family), placement=placement).eval()
    rows = model.backbone.encode(texts)
    inputs = model.backbone.collate(rows)
    attached = composed_features(model, inputs, [0, 1, 0])
    model.adapters.detach()
    assert torch.equal(model.backbone.features(inputs), attached)

    model.adapters.attach(model.backbone.module)
    randomize(model.adapters)

    together = model.outputs(rows, [0, 1, 0])
    alone = [model.outputs([row], [task])[0] for row, task in zip(rows, [0, 1, 0], strict=True)]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


# Every recipe of examples/


@pytest.fixture(scope="module")
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of the family that the test names."""
    return save_tiny(tmp_path_factory.mktemp("tiny"), request.param)


decoders_and_an_encoder = pytest.mark.parametrize("tiny", ["bert", "gpt2", "llama"], indirect=True)
recipes = pytest.mark.parametrize("path", text_recipes(), ids=lambda path: path.stem)


def plan_over(path: Path, model: Path, *overrides: str) -> Plan:
    """Return the plan of a recipe with another backbone, other tasks and few steps."""
    changes = (f"backbone.model={model}", "backbone.max_length=16", "tasks.use=toy")
    short = ("train.epochs=null", "train.steps=3", "train.batch_size=12")
    return resolve(load_recipe(path, [*changes, *short, *overrides]), REGISTRY)


def logits(model: MultiTaskModel) -> list[Tensor]:
    rows = model.backbone.encode(["a b c d e f g", "h", ("i j", "k l m"), "n o p"])
    return model.outputs(rows, [0, 2, 1, 0])


def equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(one, other, strict=True)]


@decoders_and_an_encoder
@recipes
def test_every_recipe_trains_and_is_the_same_when_it_was_saved_and_loaded(
    path: Path, tiny: Path, tmp_path: Path
) -> None:
    plan = plan_over(path, tiny)
    data = load_tasks(plan)
    model = compose(plan, data)
    fresh = logits(model)
    events = list(fit(model, data, plan.recipe.train, device="cpu"))
    trained = logits(model)
    home = RunFolder(tmp_path / "run")
    home.create(plan.to_json(), lock={})
    home.write_adapter(model, plan.to_json())

    loaded = load(home.path, registry=REGISTRY, device="cpu")

    assert [event["event"] for event in events] == ["step"] * 3 + ["evaluated"]
    assert not any(equal(trained, fresh))
    assert all(equal(logits(loaded), trained))


@recipes
def test_every_recipe_adapts_blocks_or_says_why_it_cannot(path: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    experts = REGISTRY.get("experts", load_recipe(path).experts.use).component
    blocks = "placement={use: block, at: [attention, ffn]}"

    if experts.capabilities.get("needs_base"):
        with pytest.raises(CompositionError, match=r"is a block, which has none; place adapters"):
            plan_over(path, tmp_path, blocks)
    else:
        plan = plan_over(path, tmp_path, blocks)
        assert len(logits(compose(plan, load_tasks(plan)))) == 4


# Decoding


def decoder(family: str) -> Any:
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(tiny_config(family)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def generated(
    model: Any, adapters: Adapters, rows: Sequence[int], tasks: Sequence[str], **options: Any
) -> list[list[int]]:
    """Return eight tokens for each of the chosen prompts, decoded together."""
    prompts = IDS[list(rows)]
    settings = {"num_beams": 3, "max_new_tokens": 8, "min_new_tokens": 8, "pad_token_id": 0}
    with adapters.serving(tasks, torch.ones_like(prompts)):
        tokens = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            **{**settings, **options},
        )
    answers: list[list[int]] = tokens[:, prompts.shape[1] :].tolist()
    return answers


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "llama"])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_decoding_sees_the_right_task_for_every_row(
    family: str, beams: int, use_cache: bool
) -> None:
    model = decoder(family)
    adapters = on(model, placement=BLOCK, router="by-task", regularizers=[])
    randomize(adapters)
    options = {"num_beams": beams, "use_cache": use_cache}
    rows, tasks = (0, 1, 0, 1), ("first", "second", "second", "first")

    together = generated(model, adapters, rows, tasks, **options)

    alone = [
        generated(model, adapters, [row], [task], **options)[0]
        for row, task in zip(rows, tasks, strict=True)
    ]
    assert together == alone
    assert together[0] != together[2], "the task makes no difference, so this shows nothing"
    assert together[1] != together[3]


# Activation checkpointing


def gradients(
    model: MultiTaskModel, *, in_thread: bool = False, backwards: int = 1
) -> dict[str, Tensor]:
    """Return the adapters' gradients of a loss on features and penalties."""
    inputs = model.backbone.collate(model.backbone.encode(["a b c d e f", "g h i"]))
    features = composed_features(model, inputs, [0, 1])
    records = dict(model.adapters.context.records)
    penalties = list(model.adapters.penalty_terms().values())
    loss = features.square().sum() + 10 * torch.stack(penalties).sum()

    def backward() -> None:
        for turn in range(backwards):
            loss.backward(retain_graph=turn + 1 < backwards)

    if in_thread:
        thread = threading.Thread(target=backward)
        thread.start()
        thread.join()
    else:
        backward()
    after = model.adapters.context.records
    assert records.keys() == after.keys()
    assert all(after[site] is records[site] for site in records), "recorded again in backward"
    found = {n: p.grad for n, p in model.adapters.named_parameters() if p.grad is not None}
    assert found.keys() == dict(model.adapters.named_parameters()).keys()
    return found


def pair(folder: Path, family: str, **changes: Any) -> tuple[MultiTaskModel, MultiTaskModel]:
    """Return two equal models, the second of them checkpointed."""
    saved = save_tiny(folder, family)
    plain = composed(saved, **changes)
    checkpointed = composed(saved, train={"checkpointing": True}, **changes)
    for model in (plain, checkpointed):
        randomize(model.adapters)
    return plain, checkpointed


@families
@placements
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_checkpointing_changes_no_gradient_and_records_routing_once(
    family: str, placement: Any, mode: str, tmp_path: Path
) -> None:
    plain, checkpointed = pair(tmp_path, family, placement=placement)
    getattr(plain, mode)()
    getattr(checkpointed, mode)()

    expected = gradients(plain)

    calls = Calls(checkpointed)
    torch.testing.assert_close(gradients(checkpointed), expected)
    assert calls.count == 2 * 4, "every site runs once more in backward"


class Calls:
    """Counts how often the routers of a model run."""

    def __init__(self, model: MultiTaskModel) -> None:
        self.count = 0
        for adapter in model.adapters:
            assert adapter.router is not None
            adapter.router.register_forward_hook(self.add)

    def add(self, module: nn.Module, args: Any, output: Any) -> None:
        self.count += 1


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_checkpointing_works_where_backward_is_called_from_another_thread(
    family: str, tmp_path: Path
) -> None:
    plain, checkpointed = pair(tmp_path, family, placement=BLOCK)

    torch.testing.assert_close(gradients(checkpointed, in_thread=True), gradients(plain))


def test_checkpointing_serves_several_backward_passes_of_one_forward(tmp_path: Path) -> None:
    plain, checkpointed = pair(tmp_path, "bert", placement=BLOCK)

    torch.testing.assert_close(gradients(checkpointed, backwards=2), gradients(plain, backwards=2))


def test_a_recomputation_sees_the_tasks_of_its_own_forward(tmp_path: Path) -> None:
    def loss_of(model: MultiTaskModel, tasks: Sequence[int]) -> Tensor:
        inputs = model.backbone.collate(model.backbone.encode(["a b c", "d e f"]))
        return composed_features(model, inputs, tasks).square().sum()

    found = []
    for model in pair(tmp_path, "bert", placement=BLOCK, router="by-task", regularizers=[]):
        loss = loss_of(model, [0, 0])
        with torch.no_grad():
            loss_of(model, [1, 1])
        loss.backward()
        found.append([parameter.grad for parameter in model.adapters.parameters()])

    torch.testing.assert_close(found[1], found[0])


# Copies


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_keeps_its_own_adapters(
    family: str, checkpointing: bool, way: str, tmp_path: Path
) -> None:
    model = pair(tmp_path, family, placement=BLOCK)[checkpointing]
    expected = gradients(model)
    own = copy.deepcopy(model) if way == "deepcopy" else pickle.loads(pickle.dumps(model))
    own.zero_grad()

    torch.testing.assert_close(gradients(own), expected)

    with torch.no_grad():
        for parameter in own.adapters.parameters():
            parameter.zero_()
    assert own.adapters.context is not model.adapters.context
    model.zero_grad()
    torch.testing.assert_close(gradients(model), expected)
    inputs = own.backbone.collate(own.backbone.encode(["a b c"]))
    copied = composed_features(own, inputs, [0])
    own.adapters.detach()
    assert torch.equal(own.backbone.features(inputs), copied), "the copy is run by other adapters"


# What is refused


class Pause:
    """Holds a forward in the middle until told to go on."""

    def __init__(self, module: nn.Module) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.handle = module.register_forward_hook(self.wait)

    def wait(self, module: nn.Module, args: Any, output: Any) -> None:
        self.reached.set()
        assert self.go_on.wait(10)


@pytest.fixture
def paused(tmp_path: Path) -> Iterator[tuple[Any, Adapters]]:
    """A model with adapters, in the middle of a forward of another thread."""
    model = pretrained(tmp_path, "bert")
    adapters = on(model, placement=BLOCK, router=None, experts="lora", regularizers=[])
    pause = Pause(model.get_submodule("encoder.layer.0.intermediate"))
    thread = threading.Thread(target=model, args=(IDS,))
    thread.start()
    assert pause.reached.wait(10)
    yield model, adapters
    pause.go_on.set()
    thread.join()
    pause.handle.remove()
    model(IDS)  # the first forward has ended well, so another may begin


def test_two_forwards_at_once_are_refused(paused: tuple[Any, Adapters]) -> None:
    model, _ = paused

    with pytest.raises(CompositionError, match="two forwards at once on one model"):
        model(IDS)


def test_a_forward_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    model = pretrained(tmp_path, "bert")
    adapters = on(model, placement=BLOCK)
    expected = hidden_states(model, adapters)

    def fail(module: nn.Module, args: Any, output: Any) -> None:
        raise KeyError("in the middle")

    handle = model.get_submodule("encoder.layer.0.intermediate").register_forward_hook(fail)
    with pytest.raises(KeyError, match="in the middle"):
        hidden_states(model, adapters)
    handle.remove()

    assert torch.equal(hidden_states(model, adapters), expected)


# torch.compile makes torch import code of its own that torch has deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_compiled_model_is_refused(tmp_path: Path) -> None:
    model = pretrained(tmp_path, "bert")
    wrapped: Any = torch.compile(model)

    with pytest.raises(CompositionError, match="compiled"):
        on(wrapped)
    model.compile()
    with pytest.raises(CompositionError, match="compiled"):
        on(model)


@families
def test_attaching_twice_is_refused(family: str, tmp_path: Path) -> None:
    model = pretrained(tmp_path, family)
    on(model, placement=COMPONENT)

    with pytest.raises(CompositionError, match="has adapters already"):
        on(model, placement=BLOCK)
