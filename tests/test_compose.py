"""Plans become models: named seeds, attaching, and what a model refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from toys import ToyEncoder, toy_recipe, toy_registry

from mtlora_core.adapters import Adapters
from mtlora_core.compose import attach, compose, load_tasks
from mtlora_core.errors import CompositionError, DataError
from mtlora_core.inputs import Chat
from mtlora_core.model import MultiTaskModel
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.tasks import Example, Question

HYDRA = {"use": "hydra", "count": 4, "rank": 4}


def plan_with(**changes: Any) -> Plan:
    return resolve(load_recipe(toy_recipe(**changes)), toy_registry())


def model_with(**changes: Any) -> MultiTaskModel:
    return compose(plan_with(**changes))


def test_another_router_leaves_the_experts_and_heads_where_they_start() -> None:
    fine, token = model_with().trained_state(), model_with(router="token").trained_state()

    shared = [name for name in fine if "router" not in name]
    assert len(shared) > 4
    assert all(torch.equal(fine[name], token[name]) for name in shared)


def test_sites_and_seeds_start_apart() -> None:
    state, other = model_with().trained_state(), model_with(seed=1).trained_state()

    first, second = (state[f"adapters.sites.layer{i}_ffn.experts.down"] for i in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, other["adapters.sites.layer0_ffn.experts.down"])


def test_a_fresh_model_gives_the_backbone_s_features_and_detaching_gives_it_back() -> None:
    model = model_with()
    rows = model.backbone.encode(["aa bb mark0", "cc"])
    inputs = model.backbone.collate(rows)
    with_adapters = model.backbone.features(inputs)
    for parameter in model.adapters.parameters():
        torch.nn.init.normal_(parameter)
    changed = model.backbone.features(inputs)
    model.adapters.detach()

    assert torch.equal(model.backbone.features(inputs), with_adapters)
    assert not torch.equal(changed, with_adapters)


def test_only_layers_that_are_named_are_adapted() -> None:
    model = model_with(placement={"use": "block", "at": ["ffn"], "layers": [1]})

    assert [adapter.site.name for adapter in model.adapters] == ["layer1_ffn"]


def test_tasks_without_examples_with_one_name_or_odd_labels_are_refused_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import toys

    first, second, third = load_tasks(plan_with())
    second = replace(second, test=(), train=[*second.train, Example("a", -100)])
    broken = [first, second, replace(third, task=first.task)]
    monkeypatch.setattr(toys, "build_tasks", lambda options, *, seed: broken)

    with pytest.raises(DataError) as caught:
        load_tasks(plan_with())

    assert caught.value.problems == (
        "tasks: 2 tasks are named 'toy0'",
        "task 'toy1': the test split has no examples",
        "task 'toy1': train[20] has -100; "
        "a label is a Python int, the index of one of its 2 classes, counted from 0",
    )


def test_adapters_attach_to_a_model_of_one_s_own() -> None:
    module = ToyEncoder(16, 2)
    recipe = toy_recipe(regularizers=["balance"])
    adapters = attach(module, recipe, registry=toy_registry())
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)

    with adapters.serving(mask=mask):
        module(ids, mask)
    assert adapters.penalty_terms()["balance"].requires_grad
    with pytest.raises(CompositionError, match="has adapters already"):
        attach(module, recipe, registry=toy_registry())
    adapters.detach()
    attach(module, recipe, registry=toy_registry())


def test_attached_adapters_are_in_the_mode_of_the_model() -> None:
    inner = ToyEncoder(16, 2)
    module = torch.nn.Sequential(inner)
    recipe = toy_recipe(experts={**HYDRA, "dropout": 0.5}, regularizers=[])
    adapters = attach(inner, recipe, registry=toy_registry())
    for parameter in adapters.parameters():
        torch.nn.init.normal_(parameter)
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)

    def forward() -> torch.Tensor:
        with torch.no_grad(), adapters.serving(mask=mask):
            output: torch.Tensor = inner(ids, mask)
            return output

    module.eval()
    torch.testing.assert_close(forward(), forward(), rtol=0, atol=0)
    module.train()
    assert not torch.equal(forward(), forward())


def test_attached_adapters_are_in_the_mode_of_the_layers_that_are_called() -> None:
    module = ToyEncoder(16, 2).eval()
    recipe = toy_recipe(experts={**HYDRA, "dropout": 0.5}, regularizers=[])
    adapters = attach(module, recipe, registry=toy_registry())
    for parameter in adapters.parameters():
        torch.nn.init.normal_(parameter)
    hidden, mask = torch.ones(1, 3, 16), torch.ones(1, 3, dtype=torch.bool)

    def forward(layer: int) -> torch.Tensor:
        with torch.no_grad(), adapters.serving(mask=mask):
            output: torch.Tensor = module.layers[layer](hidden, mask)
            return output

    module.layers[1].train()
    torch.testing.assert_close(forward(0), forward(0), rtol=0, atol=0)
    assert not torch.equal(forward(1), forward(1))


def test_a_model_s_adapters_keep_their_mode_where_its_backbone_has_another() -> None:
    model = model_with().eval()
    model.backbone.module.train()  # as a checkpointed one's is, always
    inputs = model.backbone.collate(model.backbone.encode(["aa"]))

    model(inputs, [0])

    assert not model.adapters.training


@pytest.mark.parametrize("layer", [0, 1])
def test_adapters_of_weights_without_values_are_refused(layer: int) -> None:
    module = ToyEncoder(16, 2)
    module.layers[layer].to("meta")
    before = [len(each._forward_hooks) for each in module.modules()]

    with pytest.raises(CompositionError) as caught:
        attach(module, toy_recipe(), registry=toy_registry())

    assert len(caught.value.problems) == 1
    assert f"site layer{layer}_ffn" in str(caught.value)
    assert "on the meta device, which holds no values: load the model's" in str(caught.value)
    assert [len(each._forward_hooks) for each in module.modules()] == before


def forwarded_in_checkpoints(use_reentrant: bool, **recipe: Any) -> Adapters:
    """Return adapters after a forward of a user's own model, its layers checkpointed."""
    module = ToyEncoder(16, 2)
    adapters = attach(module, toy_recipe(**recipe), registry=toy_registry())
    how: dict[str, Any] = {"use_reentrant": use_reentrant}
    if not use_reentrant:
        how["context_fn"] = adapters.context.checkpoint_contexts
    for layer in module.layers:
        layer.forward = partial(checkpoint, layer.forward, **how)
    ids = torch.tensor([[1, 2, 3]])
    with adapters.serving():
        module(ids, torch.ones_like(ids).bool())
    return adapters


ROUTED = ["spectral-aware", "balance"]


def test_a_penalty_that_reentrant_checkpointing_makes_a_constant_is_refused() -> None:
    adapters = forwarded_in_checkpoints(True, regularizers=ROUTED)

    with pytest.raises(CompositionError) as caught:
        adapters.penalty_terms()

    assert "site layer0_ffn: the last forward kept no graph of the routing" in str(caught.value)
    assert "so 'balance' would train nothing" in str(caught.value)
    how = "use_reentrant=False, context_fn=adapters.context.checkpoint_contexts"
    assert how in str(caught.value)


def test_the_checkpointing_that_the_refusal_names_trains_the_routers() -> None:
    adapters = forwarded_in_checkpoints(False, regularizers=ROUTED)
    adapters.penalty_terms()["balance"].backward()

    assert all(p.grad is not None for a in adapters if a.router for p in a.router.parameters())


def test_a_selection_made_a_constant_is_refused_too() -> None:
    adapters = forwarded_in_checkpoints(
        True, router={"use": "top-k", "k": 2}, regularizers=["load-balancing"]
    )

    with pytest.raises(CompositionError, match="'load-balancing' would train nothing"):
        adapters.penalty_terms()


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ({"router": "uniform", "regularizers": ["balance"]}, {"balance"}),
        ({"regularizers": ["spectral-aware"]}, {"spectral-aware"}),
        ({"regularizers": []}, set()),
    ],
    ids=["nothing-learned", "weights-alone", "no-penalty"],
)
def test_a_penalty_that_trains_no_router_takes_any_checkpointing(
    parts: dict[str, Any], names: set[str]
) -> None:
    assert forwarded_in_checkpoints(True, **parts).penalty_terms().keys() == names


def test_a_constant_is_as_good_where_no_router_is_trained() -> None:
    adapters = forwarded_in_checkpoints(True, regularizers=ROUTED)

    with torch.no_grad():
        seen = adapters.penalty_terms()
    assert adapters.eval().penalty_terms() == seen
    adapters.train()
    for adapter in adapters:
        assert adapter.router is not None
        adapter.router.requires_grad_(False)
    assert adapters.penalty_terms() == seen


def test_in_a_loop_of_one_s_own_routers_learn_what_the_last_forward_kept_of_real_tokens() -> None:
    module, rate = ToyEncoder(16, 2), 0.25
    recipe = toy_recipe(
        experts={"use": "rank-one", "count": 8},
        router={"use": "rank-top-k", "k": 2, "rate": rate},
        regularizers=[],
    )
    adapters = attach(module, recipe, registry=toy_registry())
    adapters.after_step()  # nothing to learn from yet
    ids, mask = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    with adapters.serving(mask=mask):
        module(ids.flip(1), mask)  # not the last
        module(ids, mask)
    kept = {site: each.weights[mask][:, 0] != 0 for site, each in adapters.context.records.items()}

    adapters.after_step()

    for adapter in adapters:
        share = kept[adapter.site.name].float().mean(0)
        assert adapter.router is not None
        bias = adapter.router.get_buffer("bias")
        torch.testing.assert_close(bias, rate * (share.mean() - share).sign())
        assert bias.any()


def test_a_step_teaches_routers_nothing_that_learn_by_gradients_alone() -> None:
    adapters = forwarded_in_checkpoints(False)
    before = {name: value.clone() for name, value in adapters.state_dict().items()}

    adapters.after_step()

    assert all(torch.equal(before[name], now) for name, now in adapters.state_dict().items())


@pytest.mark.parametrize(
    "parts",
    [
        {"router": "task", "experts": HYDRA},
        {"router": "token", "experts": {**HYDRA, "use": "mtl"}},
    ],
    ids=["router", "experts"],
)
def test_attaching_parts_that_ask_for_tasks_needs_their_names(parts: dict[str, Any]) -> None:
    recipe = toy_recipe(regularizers=[], **parts)

    with pytest.raises(CompositionError, match="asks for the task of each example"):
        attach(ToyEncoder(16, 2), recipe, registry=toy_registry())
    adapters = attach(ToyEncoder(16, 2), recipe, tasks=["a", "b"], registry=toy_registry())
    with pytest.raises(CompositionError, match="unknown task 'c'; the model's tasks: a, b"):
        adapters.serving(["a", "c"])


def test_a_model_with_several_tasks_asks_which_one_to_answer() -> None:
    model = model_with()

    with pytest.raises(CompositionError, match="say which task to answer: toy0, toy1, toy2"):
        model.predict(["aa"])
    with pytest.raises(CompositionError, match="unknown task 'toy9'"):
        model.predict(["aa"], task="toy9")
    with pytest.raises(CompositionError, match="2 inputs, but 1 tasks were given"):
        model.predict(["aa", "bb"], task=["toy0"])


def test_one_text_is_no_list_of_texts() -> None:
    single = [Chat((("user", "a"),)), Question("a"), Example("a", 0), Path("a.png")]
    for one in ("abcdef", b"abc", {"text": "a"}, *single):
        with pytest.raises(DataError, match=r"are to be a list, and one input was given"):
            model_with().predict(cast(Any, one), task="toy0")


def test_a_list_of_two_texts_is_a_pair() -> None:
    model = model_with()

    assert model.predict([cast(Any, ["aa", "bb"])], task="toy0") == model.predict(
        [("aa", "bb")], task="toy0"
    )


def test_what_is_no_input_is_told_with_its_type_and_place() -> None:
    given: list[Any] = ["aa", None, b"aa", 3, ["aa", "bb", "cc"], {"text": "aa"}]

    with pytest.raises(DataError) as caught:
        model_with().predict(given, task="toy0")

    types = ["None", *(f"of the type {name}" for name in ("bytes", "int", "list", "dict"))]
    assert [problem.partition(";")[0] for problem in caught.value.problems] == [
        f"inputs[{i}], of task 'toy0': is {name}" for i, name in enumerate(types, 1)
    ]
    assert "ImageFile(path)" in str(caught.value)


def test_answers_do_not_depend_on_what_they_are_batched_with() -> None:
    model = model_with()
    for parameter in model.adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    texts, tasks = ["aa bb cc dd ee mark0", "ff", "gg hh"], ["toy0", "toy1", "toy2"]

    together = model.predict(texts, task=tasks)
    for text, task, answer in zip(texts, tasks, together, strict=True):
        (alone,) = model.predict([text], task=task)
        assert alone.probabilities == pytest.approx(answer.probabilities, abs=1e-5)


def test_tensors_of_another_model_are_named() -> None:
    state = model_with().trained_state()
    other = model_with(experts={"use": "hydra", "count": 4, "rank": 8}, router="token")

    with pytest.raises(CompositionError) as caught:
        other.load_trained_state(state)

    assert any(
        "layer0_ffn.experts.down: has the shape [4, 16], this model's is [8, 16]" in problem
        for problem in caught.value.problems
    )


def test_the_meta_device_counts_the_same_parameters() -> None:
    plan = plan_with()
    counts = [
        sum(p.numel() for p in compose(plan, meta=meta).adapters.parameters())
        for meta in (True, False)
    ]

    assert counts[0] == counts[1] > 0
