"""A causal model never looks ahead, and writes with its cache what it would write without.

For every pair of installed experts and routers that a causal backbone supports, told by what the
parts declare.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import toy_recipe, toy_registry

import mtlora_transformers
from mtlora_core.compatibility import looks_ahead, mixed
from mtlora_core.component import Component
from mtlora_core.compose import compose
from mtlora_core.errors import CompositionError
from mtlora_core.model import MultiTaskModel
from mtlora_core.recipe import load_recipe
from mtlora_core.resolve import Plan, resolve
from mtlora_core.tasks import Task
from mtlora_transformers.testing import save_tiny

REGISTRY = toy_registry(transformers=mtlora_transformers)
TASKS = [Task(name, "causal") for name in ("first", "second")]
PROMPTS = ("a b c d e f g", "h i", "j k l m")
IDS = (0, 1, 0)
NEW = 6


def installed(kind: str) -> list[Component]:
    return [each.component for each in REGISTRY.parts() if each.component.kind == kind]


def supported() -> list[Any]:
    """Return the installed experts with each router that fits them, or without one."""
    alone = [(each, None) for each in installed("experts") if not mixed(each)]
    routed = [
        (experts, router)
        for experts, router in product(installed("experts"), installed("router"))
        if router.capabilities["per"] in mixed(experts) and not looks_ahead(router)
    ]
    return [
        pytest.param(experts, router, id=f"{experts.name}-{router.name if router else 'alone'}")
        for experts, router in (*alone, *routed)
    ]


every_pair = pytest.mark.parametrize(("experts", "router"), supported())
families = pytest.mark.parametrize("tiny", ["gpt2", "llama"], indirect=True)


@pytest.fixture(scope="module")
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of the family that the test names."""
    return save_tiny(tmp_path_factory.mktemp("tiny"), request.param, seed=1)


def plan_of(tiny: Path, experts: Component, router: Component | None) -> Plan:
    block = {"use": "block", "at": ["attention", "ffn"]}
    projection = {"use": "component", "at": ["q", "v", "down"]}
    recipe = toy_recipe(
        backbone={"use": "transformers", "model": str(tiny), "max_length": 32},
        placement=projection if experts.capabilities.get("needs_base") else block,
        # More experts than the sparse routers keep by default.
        experts={"use": experts.name, **({"count": 16} if mixed(experts) else {})},
        router=router and router.name,
        regularizers=[],
        evaluate={"max_new_tokens": NEW, "stop": []},
    )
    return resolve(load_recipe(recipe), REGISTRY)


def trained(tiny: Path, experts: Component, router: Component | None) -> MultiTaskModel:
    """Return a model whose factors are random, as if trained for long."""
    model = compose(plan_of(tiny, experts, router), TASKS).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model


@torch.no_grad()
def logits(model: MultiTaskModel, ids: Sequence[int], task: int) -> Tensor:
    """Return the logits ``[t, vocabulary]`` of one row of tokens, without a cache."""
    language: Any = model.language
    tokens = torch.tensor([ids])
    with model.adapters.context.serving(torch.tensor([task]), torch.ones_like(tokens).bool()):
        hidden = language.module(tokens).last_hidden_state
    own: Tensor = language.logits(hidden)[0]
    return own


def tokens_of(model: MultiTaskModel, prompt: str) -> list[int]:
    return list(model.language.encode([prompt])[0].features["input_ids"])


def slowly(model: MultiTaskModel, prompt: str, task: int) -> str:
    """Write an answer token by token, reading everything anew for each."""
    ids, said = tokens_of(model, prompt), list[int]()
    language: Any = model.language
    end = language.reader.tokenizer.eos_token_id
    while len(said) < NEW and end not in said:
        said.append(int(logits(model, ids + said, task)[-1].argmax()))
    text: str = language.reader.tokenizer.decode(said, skip_special_tokens=True)
    return text


@every_pair
@families
def test_what_stands_later_changes_nothing_before_it(
    tiny: Path, experts: Component, router: Component | None
) -> None:
    model = trained(tiny, experts, router)
    ids = tokens_of(model, PROMPTS[0])

    whole = logits(model, ids, 1)

    for length in range(1, len(ids)):
        prefix = logits(model, ids[:length], 1)
        torch.testing.assert_close(whole[:length], prefix, rtol=1e-4, atol=1e-4)
    other = logits(model, [*ids[:-1], ids[0]], 1)
    torch.testing.assert_close(other[:-1], whole[:-1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(other[-1], whole[-1], atol=1e-2)


@every_pair
@families
def test_what_is_written_with_a_cache_and_in_a_batch_is_written_without(
    tiny: Path, experts: Component, router: Component | None
) -> None:
    model = trained(tiny, experts, router)
    rows = model.language.encode(PROMPTS)

    together = model.written(rows, IDS)

    assert together == [slowly(model, p, t) for p, t in zip(PROMPTS, IDS, strict=True)]
    model.adapters.detach()
    assert model.written(rows, IDS) != together, "adapters are not active in generation"


@every_pair
@families
def test_likelihoods_are_those_of_each_answer_alone(
    tiny: Path, experts: Component, router: Component | None
) -> None:
    model = trained(tiny, experts, router)
    answers = ("a", "b c d", "e f")
    rows = model.language.encode_answers(PROMPTS, answers)

    found = model.outputs(rows, IDS)

    for row, task, value in zip(rows, IDS, found, strict=True):
        ids = list(row.features["input_ids"])
        own = logits(model, ids, task).log_softmax(-1)
        first = len(ids) - row.targets
        expected = sum(own[at - 1, ids[at]] for at in range(first, len(ids)))
        torch.testing.assert_close(value.squeeze(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tiny", ["bert"], indirect=True)
def test_a_causal_task_on_an_encoder_is_refused(tiny: Path) -> None:
    lora = next(each for each in installed("experts") if each.name == "lora")

    with pytest.raises(CompositionError, match=r"'first' is causal, and .* is no causal language"):
        compose(plan_of(tiny, lora, None), TASKS)
