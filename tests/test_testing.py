"""The suites of the contract must catch who breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

import pytest
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, noop_context_fn

from mtlora_core.component import Component, Kind
from mtlora_core.context import Contexts, TaskContext
from mtlora_core.hookspecs import hookimpl
from mtlora_core.inputs import Input, texts_of
from mtlora_core.interfaces import (
    Backbone,
    Encoded,
    Experts,
    Inputs,
    LossWeighting,
    Router,
    Routing,
    SiteInput,
    StepLosses,
    TaskGradients,
)
from mtlora_core.options import BackboneOptions, Options, PenaltyOptions, TransformOptions
from mtlora_core.sites import BackboneShape, Block, Layer, Projection, Site
from mtlora_core.tasks import Example, Task, TaskData
from mtlora_core.testing import (
    check_backbone,
    check_component,
    check_experts,
    check_penalty,
    check_placement,
    check_plugin,
    check_router,
    check_tasks,
    check_transform,
    check_weighting,
    described,
    tiny_shape,
)
from mtlora_core.testing.samples import assert_close

CAPABILITIES: dict[Kind, dict[str, Any]] = {
    "router": {
        "per": "token",
        "needs_task": False,
        "normalized": True,
        "causal": True,
        "learned": True,
    },
    "experts": {"mixes": ("model", "task", "sequence", "token", "group")},
    "regularizer": {"penalizes": "weights"},
    "placement": {"sites": ("projection",)},
}


def component_of(kind: Kind, options: type, build: Any, **capabilities: Any) -> Component:
    """Describe parts of this file, as a plugin's door does."""
    return Component(
        kind=kind,
        name="toy",
        options=f"{__name__}:{options.__name__}",
        build=f"{__name__}:{build.__name__}",
        summary="a part of a test",
        capabilities={**CAPABILITIES.get(kind, {}), **capabilities},
    )


# Routers, each sound or with one fault


class FaultyOptions(Options):
    fault: str = ""
    """What the part does wrong."""


class Gate(Router):
    calls: Tensor

    def __init__(
        self, options: FaultyOptions, site: Site, experts: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.fault = options.fault
        self.weight = nn.Parameter(torch.randn(experts, site.d))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        logits = self.logits(hidden, context)
        weights = (logits if self.fault == "sums" else logits.float().softmax(-1))[:, :, None]
        if self.fault == "shape":
            weights = weights[:, :, 0]
        if self.fault == "gradient":
            weights = weights.detach() + 0 * self.weight.sum()
        return Routing(weights, "group" if self.fault == "unit" else "token")

    def logits(self, hidden: Tensor, context: TaskContext) -> Tensor:
        if self.fault == "looks ahead":
            hidden = hidden.mean(1, keepdim=True).expand_as(hidden)
        if self.fault == "looks back":
            hidden = hidden.cumsum(1)
        if self.fault == "batch":
            hidden = hidden - hidden.mean(0)
        if self.fault == "task":
            context.task_ids_for(hidden)
        if self.fault == "buffer":
            self.calls += 1
        return nn.functional.linear(hidden, self.weight)


def test_a_sound_router_passes() -> None:
    check_router(component_of("router", FaultyOptions, Gate))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("sums", "sum of one"),
        ("shape", "have the shape"),
        ("unit", "routes per group, declared per token"),
        ("gradient", "a gradient of 0"),
        ("looks ahead", "padding"),
        ("looks back", "declared causal, yet weights depend on other tokens"),
        ("batch", "other rows"),
        ("task", "without declaring it"),
        ("buffer", "changes what the router keeps"),
    ],
)
def test_catches_a_router_that_breaks_its_contract(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_router(component_of("router", FaultyOptions, Gate), {"fault": fault})


def test_catches_a_router_that_says_it_learns_nothing() -> None:
    with pytest.raises(AssertionError, match="declared learned: False"):
        check_router(component_of("router", FaultyOptions, Gate, learned=False))


def test_catches_a_sparse_router_that_hides_what_it_chose_from() -> None:
    with pytest.raises(AssertionError, match=r"declared sparse: True, yet says .*: False"):
        check_router(component_of("router", FaultyOptions, Gate, sparse=True))


class SharedByTaskGate(Gate):
    task_indexed: ClassVar[frozenset[str]] = frozenset({"weight"})


def test_catches_a_router_whose_tasks_share_what_it_calls_their_own() -> None:
    with pytest.raises(AssertionError, match=r"task 1 move 'weight' of the tasks \[0, 1, 2, 3\]"):
        check_router(component_of("router", FaultyOptions, SharedByTaskGate))


# Experts


class Pair(Experts):
    def __init__(self, options: FaultyOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count, self.fault = 2, options.fault
        self.down = nn.Parameter(torch.randn(3, site.d))
        self.up = nn.Parameter(torch.full((site.o, 2, 3), float(options.fault == "start")))
        if options.fault == "idle":
            self.idle = nn.Parameter(torch.zeros(1))

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        assert routing is not None
        low = nn.functional.linear(site.hidden, self.down)
        if self.fault == "batch":
            low = low + low.mean(0)
        if self.fault == "padding":
            mask = site.context.mask_for(low)
            low = low if mask is None else low + (low * ~mask[..., None]).sum(1, keepdim=True)
        if self.fault == "tokens":
            low = low + low.cumsum(1)
        if self.fault == "base weight":
            low = low + 0 * site.base_weight.sum()  # type: ignore[union-attr]
        if self.fault == "task":
            site.context.task_ids_for(site.hidden)
        weights = self.weights(site, routing)
        each = torch.einsum("oer,btr->btoe", self.up, low).unflatten(2, (weights.shape[2], -1))
        mixed: Tensor = (each * weights[:, :, :, None]).sum(-1)
        return mixed.flatten(2)

    def weights(self, site: SiteInput, routing: Routing) -> Tensor:
        """Return the weights as ``[b, t, g, e]``, an axis 1 long where they are the same."""
        weights = routing.weights
        match routing.per, self.fault:
            case _, "routing":
                return torch.ones(1, 1, 1, 2)
            case "model", _:
                return weights[None, None, None]
            case "task", "first task":
                return weights[0][None, None, None]
            case "task", _:
                return weights[site.context.task_ids_for(site.hidden)][:, None, None]
            case "sequence", "mean row":
                return weights.mean(0)[None, None, None]
            case "sequence", _:
                return weights[:, None, None]
            case "token", "mean token":
                return weights.mean(1, keepdim=True)
            case "token", "units":
                return weights * 2
            case "group", "other group":
                return weights.flip(2)
        return weights

    @property
    def up_factors(self) -> Tensor:
        return self.up.detach() + 0 * self.down.sum() if self.fault == "factors" else self.up


def test_sound_experts_pass() -> None:
    check_experts(component_of("experts", FaultyOptions, Pair))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("start", "fresh experts change the output"),
        ("batch", "other rows"),
        ("padding", "depends on padding"),
        ("tokens", "a token's update depends on other tokens"),
        ("base weight", "asks for the base weight without declaring needs_base"),
        ("task", "asks for the task without declaring needs_task"),
        ("routing", "change nothing"),
        ("first task", "routed per task, some output is not weighed by its own task's"),
        ("mean row", "other rows"),
        ("mean token", "a token's update depends on other tokens"),
        ("other group", "routed per group, some output is not weighed by its own group's"),
        ("units", "the same weights per token and per model differ"),
        ("factors", "not in the graph"),
        ("idle", "parameter idle gets no gradient"),
    ],
)
def test_catches_experts_that_break_their_contract(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_experts(component_of("experts", FaultyOptions, Pair), {"fault": fault})


@pytest.mark.parametrize(
    ("fault", "declared"), [("base weight", "needs_base"), ("task", "needs_task")]
)
def test_experts_may_ask_for_what_they_declare(fault: str, declared: str) -> None:
    component = component_of("experts", FaultyOptions, Pair, **{declared: True})

    check_experts(component, {"fault": fault})


def test_experts_of_weights_per_task_leave_asking_for_the_task_to_their_router() -> None:
    check_experts(component_of("experts", FaultyOptions, Pair, mixes=("task",)))


class Plain(Pair):
    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        even = torch.full((2,), 0.5)
        return super().forward(site, Routing(even, "model"))


def test_experts_that_declare_no_unit_take_no_router() -> None:
    component = component_of("experts", FaultyOptions, Plain)
    unrouted = replace(component, capabilities={})

    check_experts(unrouted)


class SharedByTask(Pair):
    task_indexed: ClassVar[frozenset[str]] = frozenset({"down"})


class NamelessByTask(Pair):
    task_indexed: ClassVar[frozenset[str]] = frozenset({"elsewhere"})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (SharedByTask, r"examples of task 1 move 'down' of the tasks \[0, 1, 2\]"),
        (NamelessByTask, "task_indexed names 'elsewhere', which is neither"),
    ],
)
def test_catches_experts_whose_tasks_share_what_they_call_their_own(
    build: type[Pair], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check_experts(component_of("experts", FaultyOptions, build))


class LooselySegmented(Pair):
    segmented = True


class LooselySegmentedGate(Gate):
    segmented = True


def test_catches_parts_that_say_they_are_segmented_and_go_around_the_core_s_algebra() -> None:
    with pytest.raises(
        AssertionError, match=r"segmented, and parameter (down|up) enters otherwise"
    ):
        check_experts(component_of("experts", FaultyOptions, LooselySegmented))
    with pytest.raises(AssertionError, match="segmented, and parameter weight enters otherwise"):
        check_router(component_of("router", FaultyOptions, LooselySegmentedGate))


# Transforms


class FaultyTransformOptions(TransformOptions):
    fault: str = ""
    """What the part does wrong."""


class Average:
    def __init__(self, options: FaultyTransformOptions, tasks: Sequence[str], groups: int) -> None:
        self.fault, self.calls = options.fault, 0

    def __call__(self, gradients: TaskGradients) -> Any:
        self.calls += 1
        tasks, groups = len(gradients.task_ids), len(gradients.groups)
        weights = torch.full((groups, tasks), 1 / tasks)
        if self.fault == "memory" and gradients.seed != 7:
            weights *= self.calls
        if self.fault == "fickle" and gradients.seed == 7:
            weights *= self.calls
        if self.fault == "company":
            weights *= groups
        if self.fault == "zero":
            weights /= gradients.gramians.sum((1, 2))[:, None]
        if self.fault == "turned":
            weights *= -1
        if self.fault == "changes":
            gradients.groups[0][0].zero_()
        vectors = gradients.weighted(weights)
        if self.fault == "double":
            vectors = [vector.double() for vector in vectors]
        if self.fault == "stacked" and groups == 1:
            return torch.stack(vectors)
        if self.fault == "generator":
            return (vector for vector in vectors)
        return vectors[:1] if self.fault == "shapes" else vectors


def test_a_sound_transform_passes() -> None:
    check_transform(component_of("regularizer", FaultyTransformOptions, Average))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("memory", "not in its state_dict"),
        ("fickle", "asked again"),
        ("company", "which groups come with it"),
        ("zero", "not finite"),
        ("turned", "is turned"),
        ("changes", "changes the rows"),
        ("shapes", "gave tensors of shapes"),
        ("double", "gave torch.float64 on cpu for rows in torch.float32 on cpu"),
        ("stacked", "gave a Tensor, and a sequence of tensors is expected"),
        ("generator", "gave a generator, and a sequence of tensors is expected"),
    ],
)
def test_catches_a_transform_that_breaks_its_contract(fault: str, message: str) -> None:
    component = component_of("regularizer", FaultyTransformOptions, Average)

    with pytest.raises(AssertionError, match=message):
        check_transform(component, {"fault": fault})


class Remembering(nn.Module):
    """A transform that gives later steps less, and remembers in the way of its fault."""

    calls: Tensor

    def __init__(self, options: FaultyTransformOptions, tasks: Sequence[str], groups: int) -> None:
        super().__init__()
        self.fault, self.elsewhere = options.fault, 0.0
        self.register_buffer("calls", torch.zeros(groups, 1 if options.fault == "grows" else 2))

    def forward(self, gradients: TaskGradients) -> list[Tensor]:
        indices = torch.tensor(gradients.indices)
        self.calls[indices] += 1
        self.elsewhere += self.fault == "elsewhere"
        if self.fault == "grows":
            self.calls = torch.cat([self.calls, self.calls[:, -1:]], 1)
        weights = 1 / (self.calls[indices, -1:] + self.elsewhere)
        return gradients.weighted(weights.expand(-1, len(gradients.task_ids)))

    def get_extra_state(self) -> Any:
        return {"any": "thing"}

    def set_extra_state(self, state: Any) -> None:
        pass


class Sound(Remembering):
    get_extra_state = nn.Module.get_extra_state
    set_extra_state = nn.Module.set_extra_state


def test_a_sound_transform_that_remembers_passes() -> None:
    check_transform(component_of("regularizer", FaultyTransformOptions, Sound))


@pytest.mark.parametrize(
    ("build", "fault", "message"),
    [
        (Sound, "elsewhere", "not in its state_dict"),
        (Sound, "grows", "changes its shapes"),
        (Remembering, "", "as something else than a tensor"),
    ],
)
def test_catches_a_transform_that_remembers_what_nobody_can_save(
    build: type, fault: str, message: str
) -> None:
    component = component_of("regularizer", FaultyTransformOptions, build)

    with pytest.raises(AssertionError, match=message):
        check_transform(component, {"fault": fault})


# Weightings


class Weigher(LossWeighting):
    calls: Tensor

    def __init__(self, options: FaultyOptions, tasks: Sequence[str]) -> None:
        super().__init__()
        self.fault, self.elsewhere = options.fault, 0
        self.register_buffer("calls", torch.zeros(len(tasks)))

    def weights(self, step: StepLosses) -> Any:
        self.elsewhere += 1
        ids = [*step.task_ids]
        weights = 1 / (1 + self.calls[ids].double())
        match self.fault:
            case "peeks":
                return weights * step.losses
            case "infinite":
                return weights / step.losses
            case "negative":
                return -weights
            case "list":
                return weights.tolist()
            case "whole":
                return torch.ones(len(self.calls))
            case "changes":
                step.losses.fill_(1)
            case "draws":
                return weights * torch.rand(())
            case "elsewhere":
                return weights * self.elsewhere
        return weights

    def after_step(self, step: StepLosses) -> None:
        self.calls[[*step.task_ids]] += 1
        if self.fault == "grows":
            self.calls = torch.cat([self.calls, self.calls])


def test_a_sound_weighting_passes() -> None:
    check_weighting(component_of("regularizer", FaultyOptions, Weigher, weighs_losses="earlier"))


@pytest.mark.parametrize(
    ("fault", "reads", "message"),
    [
        ("peeks", "earlier", "gave .*nan.*, and finite weights are expected"),
        ("infinite", "current", "gave .*inf.*, and finite weights are expected"),
        ("negative", "earlier", "is negative"),
        ("whole", "earlier", "a tensor of shape .* is expected"),
        ("list", "earlier", "a tensor of shape .* is expected"),
        ("changes", "current", "changes the losses"),
        ("draws", "earlier", "without the step's seed"),
        ("elsewhere", "earlier", "not in its state_dict"),
        ("grows", "earlier", "changes its shapes"),
    ],
)
def test_catches_a_weighting_that_breaks_its_contract(fault: str, reads: str, message: str) -> None:
    component = component_of("regularizer", FaultyOptions, Weigher, weighs_losses=reads)

    with pytest.raises(AssertionError, match=message):
        check_weighting(component, {"fault": fault})


# Penalties


class FaultyPenaltyOptions(PenaltyOptions):
    fault: str = ""
    """What the part does wrong."""


class Size:
    def __init__(self, options: FaultyPenaltyOptions) -> None:
        self.options = options

    def __call__(self, experts: Experts, routing: Routing | None) -> Tensor:
        up, fault = experts.up_factors, self.options.fault
        if fault == "root":
            return up.norm(dim=0).sum() if up.any() else (up.square().sum() / up.sum()).sum()
        if fault == "weight":
            return up.square().sum() * self.options.weight
        if fault == "padding" and routing is not None:
            return up.square().sum() * (routing.weights[..., 0].square().sum() + 1)
        if fault == "vector":
            return up.square().sum(0)
        return up.detach().square().sum() if fault == "graph" else up.square().sum()


def test_a_sound_penalty_passes() -> None:
    check_penalty(component_of("regularizer", FaultyPenaltyOptions, Size))


@pytest.mark.parametrize("other", ["routing", "selection"])
def test_catches_a_penalty_that_reads_something_else_than_it_says(other: str) -> None:
    with pytest.raises(AssertionError, match=f"declared to penalize {other}, which get no"):
        check_penalty(component_of("regularizer", FaultyPenaltyOptions, Size, penalizes=other))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("root", "the penalty is nan"),
        ("weight", "applies its weight"),
        ("padding", "padding change the penalty"),
        ("vector", "no scalar"),
        ("graph", "not in the graph"),
    ],
)
def test_catches_a_penalty_that_breaks_its_contract(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_penalty(component_of("regularizer", FaultyPenaltyOptions, Size), {"fault": fault})


def test_catches_a_penalty_that_reads_not_what_it_says() -> None:
    component = component_of("regularizer", FaultyPenaltyOptions, Size, penalizes="routing")

    with pytest.raises(AssertionError, match="penalize routing, which get no gradient"):
        check_penalty(component)


# Placements


def place(options: FaultyOptions, shape: BackboneShape) -> Any:
    projection = shape.layers[0].projections["q"]
    name, d, o = projection.module, projection.d, projection.o
    site = Site("layer0_q", "projection", 0, name, name, d, o)
    faults: dict[str, Any] = {
        "nothing": [],
        "generator": (each for each in [site]),
        "twice": [site, site],
        "dot": [replace(site, name="layer0.q")],
        "layer": [replace(site, layer=9)],
        "module": [replace(site, reads="layers.0.nothing")],
        "width": [replace(site, o=o + 1)],
    }
    return faults.get(options.fault, [site])


def test_a_sound_placement_passes() -> None:
    check_placement(component_of("placement", FaultyOptions, place))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nothing", "finds no site"),
        ("generator", "returns no Sequence"),
        ("twice", "2 sites are named layer0_q"),
        ("dot", "has a dot"),
        ("layer", "there is no layer 9"),
        ("module", "no such projection"),
        ("width", "no such projection"),
    ],
)
def test_catches_a_placement_that_breaks_its_contract(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_placement(component_of("placement", FaultyOptions, place), {"fault": fault})


def test_catches_a_placement_of_sites_it_does_not_declare() -> None:
    component = component_of("placement", FaultyOptions, place, sites=("block",))

    with pytest.raises(AssertionError, match="is a projection; the component declares"):
        check_placement(component)


# Backbones


class ToyBackboneOptions(BackboneOptions):
    fault: str = ""
    """What the part does wrong."""

    def shape(self) -> BackboneShape:
        o = 7 if self.fault == "width" else 6
        start = 1 if self.fault == "slice" else None
        ffn, module = Block("ffn", "ffn"), "ffn"
        if self.fault in ("elsewhere", "idle"):
            module = self.fault
        if self.fault in ("understated", "slice"):
            o = 3
        width = 12 if self.fault == "residual" else 6
        layer = Layer(ffn, ffn, {"up": Projection(module, 6, o, start)})
        return BackboneShape("toy", width, (layer,), causal=False)

    @classmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        return cls(fault=module.fault).shape()


class Words(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.embedding = nn.Embedding(64, 6)
        self.ffn = nn.Linear(6, 6)
        self.idle = nn.Linear(6, 6)
        self.dropout = nn.Dropout(0.5 if fault == "dropout" else 0.0)

    def forward(self, ids: Tensor, contexts: Callable[[], Contexts]) -> Tensor:
        hidden = self.embedding(ids)
        output = checkpoint(self.ffn, hidden, use_reentrant=False, context_fn=contexts)
        return self.dropout(output.sin())  # type: ignore[no-any-return]


class ToyBackbone(Backbone):
    def __init__(self, options: ToyBackboneOptions, *, meta: bool = False) -> None:
        super().__init__()
        self.fault, self.width, self.contexts = options.fault, 6, noop_context_fn
        torch.manual_seed(0)
        with torch.device("meta" if meta and self.fault != "meta" else "cpu"):
            self.module = Words(self.fault).requires_grad_(False)

    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        texts = [text if isinstance(text, tuple) else (text,) for text in texts_of(inputs)]
        words = [" ".join(text).split() for text in texts]
        limit = None if self.fault == "limit" else max_length
        return [
            Encoded(
                {"ids": [len(word) for word in each[:limit]]},
                len(each[:limit]),
                truncated=limit is not None and len(each) > limit and self.fault != "truncated",
            )
            for each in words
        ]

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        ids = [torch.tensor(row.features["ids"]) for row in rows]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        return Inputs({"ids": padded}, padded > (-1 if self.fault == "mask" else 0))

    def forward(self, inputs: Inputs) -> Tensor:
        run = self.module.forward if self.fault == "parts" else self.module
        last: Tensor = run(inputs.tensors["ids"], self.contexts)
        return last[..., :-1] if self.fault == "hidden" else last

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.fault == "padding":
            return hidden.float().mean(1)
        if self.fault != "half":
            hidden = hidden.float()
        total: Tensor = (hidden * mask[..., None]).sum(1)
        return total / mask.sum(1, keepdim=True)

    def checkpoint(self, context_fn: Callable[[], Contexts]) -> None:
        if self.fault != "checkpoint":
            self.contexts = context_fn


def test_a_sound_backbone_passes() -> None:
    check_backbone(component_of("backbone", ToyBackboneOptions, ToyBackbone))


def test_a_slice_may_leave_some_of_its_module_s_output_to_others() -> None:
    component = component_of("backbone", ToyBackboneOptions, ToyBackbone)

    check_backbone(component, {"fault": "slice"})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("width", r"'ffn' gives \[3, 13, 6\], described as \[3, 13, 7\]"),
        ("understated", r"'ffn' gives \[3, 13, 6\], described as \[3, 13, 3\]"),
        ("residual", r"'ffn' reads \[3, 13, 6\], described as \[3, 13, 12\]"),
        ("elsewhere", "has no module 'elsewhere'"),
        ("idle", "the model never calls 'idle'"),
        ("parts", "never the module as a whole"),
        ("half", "features are torch.bfloat16"),
        ("meta", "asked for meta, it has weights"),
        ("mask", "the mask is not the lengths"),
        ("limit", "max_length is not kept"),
        ("truncated", "truncated is not what was cut"),
        ("padding", "padding or on other inputs"),
        ("dropout", "train mode"),
        ("hidden", "forward gives"),
        ("checkpoint", "no layer is checkpointed"),
    ],
)
def test_catches_a_backbone_that_breaks_its_contract(fault: str, message: str) -> None:
    component = component_of("backbone", ToyBackboneOptions, ToyBackbone)

    with pytest.raises(AssertionError, match=message):
        check_backbone(component, {"fault": fault})


# Tasks


def read(options: FaultyOptions, *, seed: int) -> Any:
    task, example = Task("mood", labels=("bad", "good")), Example("fine", 1)
    sound = TaskData(task, [example], [example], [example])
    faults: dict[str, Any] = {
        "nothing": [],
        "twice": [sound, sound],
        "generator": (each for each in [sound]),
        "described": [{"task": task}],
        "empty": [replace(sound, test=[])],
        "label": [replace(sound, train=[Example("fine", 2)])],
        "text": [replace(sound, train=[Example(("a", "b", "c"), 1)])],  # type: ignore[arg-type]
        "labels": [replace(sound, task=replace(task, labels=("good", "good")))],
        "metric": [replace(sound, task=replace(task, metric="mse"))],
        "seed": [replace(sound, train=[Example(str(object()), 1)])],
    }
    return faults.get(options.fault, [sound])


def test_a_sound_source_of_tasks_passes() -> None:
    check_tasks(component_of("tasks", FaultyOptions, read))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nothing", "there are no tasks"),
        ("twice", "2 tasks are named 'mood'"),
        ("generator", "returns no Sequence"),
        ("described", "is no TaskData"),
        ("empty", "no examples in test"),
        ("label", r"task 'mood': train\[0\] has 2; a label is a Python int"),
        ("metric", "task 'mood': metric 'mse' does not score classification"),
        ("text", "neither one nor a pair"),
        ("labels", "a class needs a name of its own"),
    ],
)
def test_catches_a_source_of_tasks_that_breaks_its_contract(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_tasks(component_of("tasks", FaultyOptions, read), {"fault": fault})


# Descriptions


class Undocumented(Options):
    fault: str = ""


class Halved(Options):
    fault: Annotated[int, BeforeValidator(lambda value: value // 2)] = 4
    """An option that is halved each time it is read."""


class Renamed(Options):
    fault: str = Field(alias="slip")
    """An option that is written by another name than it is read."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary": ""}, "has no summary"),
        ({"build": "nowhere"}, "must be an import string"),
        ({"options": f"{__name__}:Undocumented"}, "option 'fault' has no docstring"),
        ({"options": f"{__name__}:Gate"}, "must be a subclass of mtlora_core.options.Options"),
        ({"options": f"{__name__}:Halved"}, "option 'fault' is 4, is written out as 4, and reads"),
        ({"options": f"{__name__}:Renamed"}, "option 'fault' has an alias"),
        ({"capabilities": {"speed": 1}}, "unknown capability 'speed'"),
    ],
)
def test_catches_a_description_that_is_incomplete(change: dict[str, Any], message: str) -> None:
    component = replace(component_of("placement", FaultyOptions, place), **change)

    with pytest.raises(AssertionError, match=message):
        check_component(component)


class Door(ModuleType):
    """A plugin's package, without a file."""

    def __init__(self, *components: Component) -> None:
        super().__init__("json")  # what the suite imports to see what a door brings along
        self.mtlora_components = hookimpl(lambda: list(components))


def test_catches_a_plugin_that_describes_nothing() -> None:
    with pytest.raises(AssertionError, match="describes nothing"):
        check_plugin(Door())


def test_catches_two_parts_of_one_name() -> None:
    component = component_of("placement", FaultyOptions, place)

    with pytest.raises(AssertionError, match="2 components placement 'toy'"):
        check_plugin(Door(component, component))


def test_catches_a_function_that_is_called_like_a_hook_and_is_none() -> None:
    door = Door(component_of("placement", FaultyOptions, place))
    door.mtlora_on_step = hookimpl(lambda record: None)  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="unknown hook 'mtlora_on_step'"):
        check_plugin(door)


@pytest.mark.parametrize("heavy", ["torch", "pydantic"])
def test_catches_a_door_that_is_heavy(
    heavy: Literal["torch", "pydantic"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy_door.py").write_text(f"import {heavy}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    door = Door(component_of("placement", FaultyOptions, place))
    door.__name__ = "heavy_door"

    with pytest.raises(AssertionError, match=f"imports {heavy}"):
        check_plugin(door)


def test_says_what_there_is_where_a_part_is_not() -> None:
    door = Door(component_of("placement", FaultyOptions, place))

    with pytest.raises(AssertionError, match="describes no router 'toy', but placement toy"):
        described(door, "router", "toy")


def test_rounding_is_measured_by_the_largest_entry() -> None:
    expected = torch.tensor([0.0, 1e4])

    assert_close(expected + torch.tensor([1e-2, 0.0]), expected, "differ")
    assert_close(torch.tensor([1e-5, 1e-2]), torch.tensor([0.0, 1e-2]), "differ")
    for actual in ([1.0, 1e4], [0.0, 1.001e4]):
        with pytest.raises(AssertionError, match="differ: "):
            assert_close(torch.tensor(actual), expected, "differ")


def test_the_tiny_shape_is_a_backbones() -> None:
    shape = tiny_shape(layers=2, width=8, roles=("q", "gate"))

    assert [len(shape.layers), shape.layers[1].projections["gate"].o] == [2, 16]
