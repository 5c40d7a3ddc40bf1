"""What every language model promises: answers that follow prompts, and nothing seen too early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..component import Component, load
from ..errors import DataError
from ..inputs import Input
from ..interfaces import Encoded, Inputs, LanguageModel
from .samples import assert_close, device, options_of

PROMPTS: Sequence[Input] = ("Is the sky blue on a clear day?", "Two and two?")
ANSWERS: Sequence[str] = ("yes it is", "four")


def check_language_model(
    component: Component,
    options: Mapping[str, Any] | None = None,
    prompts: Sequence[Input] = PROMPTS,
    answers: Sequence[str] = ANSWERS,
) -> None:
    """Assert that a backbone built with ``language=True`` keeps the contract of a language model.

    Answers follow their prompts and are all that is learnt; a prompt that is too long loses its
    beginning and an answer nothing; no position sees a later one; likelihoods and generation
    depend neither on padding nor on the other rows of a batch; no tensor is kept twice.

    Args:
        component: The backbone's description.
        options: Its options, as a recipe writes them.
        prompts: What it reads, of different lengths, each of two tokens or more.
        answers: What it is to say, one a prompt.
    """
    assert component.capabilities.get("language"), "does not declare that it is a language model"
    make = partial(load(component.build), options_of(component, options), language=True)
    model = make().to(device()).eval()
    assert isinstance(model, LanguageModel), f"language=True builds a {type(model).__name__}"
    _check_tensors(model, make(meta=True))
    _check_answers(model, prompts, answers)
    _check_cutting(model, prompts, answers)
    with torch.no_grad():
        _check_likelihoods(model, prompts, answers)
        _check_order(model, prompts, answers)
        _check_generation(model, prompts)


def _check_tensors(model: LanguageModel, meta: LanguageModel) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if tensor.numel()}
    places = {tensor.data_ptr() for tensor in state.values()}
    assert len(places) == len(state), "the state dict holds a tensor twice"
    expected = {name: tensor.shape for name, tensor in model.named_parameters()}
    assert {name: p.shape for name, p in meta.named_parameters()} == expected, (
        "built on the meta device, it has other parameters"
    )


def _check_answers(model: LanguageModel, prompts: Sequence[Input], answers: Sequence[str]) -> None:
    asked, rows = model.encode(prompts), model.encode_answers(prompts, answers)
    for prompt, row in zip(asked, rows, strict=True):
        assert row.targets > 1, "an answer has no end token, or no token of its own"
        assert row.length == prompt.length + row.targets, "an answer does not follow its prompt"
        for name, values in prompt.features.items():
            assert [*row.features[name]][: prompt.length] == [*values], (
                "a prompt with an answer has other tokens than the prompt"
            )
    inputs = model.collate(rows)
    assert inputs.targets is not None, "rows with answers are collated without targets"
    counts = [row.targets for row in rows]
    assert (inputs.targets != -100).sum(1).tolist() == counts, "targets are not the answers' tokens"
    assert any(_are_next(tensor, inputs.targets) for tensor in inputs.tensors.values()), (
        "a target is not the token behind its position"
    )
    assert model.collate(asked).targets is None, "prompts alone have targets"


def _are_next(tokens: Tensor, targets: Tensor) -> bool:
    asked = targets[:, :-1] != -100
    return tokens.shape == targets.shape and torch.equal(
        tokens[:, 1:][asked], targets[:, :-1][asked]
    )


def _check_cutting(model: LanguageModel, prompts: Sequence[Input], answers: Sequence[str]) -> None:
    for prompt, answer in zip(prompts, answers, strict=True):
        (whole,) = model.encode_answers([prompt], [answer])
        (cut,) = model.encode_answers([prompt], [answer], max_length=whole.length - 1)
        assert (cut.length, cut.truncated) == (whole.length - 1, True), "max_length is not kept"
        assert torch.equal(_last_targets(model, cut), _last_targets(model, whole)), (
            "an answer lost tokens where its prompt was too long"
        )
        try:
            model.encode_answers([prompt], [answer], max_length=whole.targets - 1)
        except DataError:
            continue
        raise AssertionError("an answer longer than max_length is encoded")


def _last_targets(model: LanguageModel, row: Encoded) -> Tensor:
    targets = model.collate([row]).targets
    assert targets is not None
    return targets[targets != -100]


def _likelihoods(model: LanguageModel, inputs: Inputs) -> Tensor:
    assert inputs.targets is not None
    return model.log_likelihood(model(inputs), inputs.targets)


def _check_likelihoods(
    model: LanguageModel, prompts: Sequence[Input], answers: Sequence[str]
) -> None:
    rows = model.encode_answers(prompts, answers)
    together = _likelihoods(model, model.collate(rows).to(device()))
    assert together.dtype == torch.float32, f"likelihoods are {together.dtype}"
    assert (together < 0).all(), "an answer's log-likelihood is not below 0"
    alone = [_likelihoods(model, model.collate([row]).to(device())) for row in rows]
    assert_close(together, torch.cat(alone), "likelihoods depend on padding or on other rows", 1e-4)
    mixed = model.collate([*rows, model.encode(prompts[:1])[0]]).to(device())
    assert _likelihoods(model, mixed)[-1] == 0, "a row without targets has a likelihood"


def _check_order(model: LanguageModel, prompts: Sequence[Input], answers: Sequence[str]) -> None:
    """A prompt's hidden states must not know what is said next."""
    (prompt,) = model.encode(prompts[:1])
    (whole,) = model.encode_answers(prompts[:1], answers[:1])
    before = model(model.collate([prompt]).to(device()))
    after = model(model.collate([whole]).to(device()))[:, : prompt.length]
    assert_close(after, before, "hidden states depend on later tokens", 1e-4)


def _check_generation(model: LanguageModel, prompts: Sequence[Input]) -> None:
    rows = model.encode(prompts)
    inputs = model.collate_prompts(rows)
    lengths = [row.length for row in rows]
    assert inputs.mask.sum(1).tolist() == lengths, "the mask of prompts is not their lengths"
    assert inputs.mask[:, -1].all(), "prompts are not padded on the left"
    texts = model.generate(inputs.to(device()), 6)
    alone = [model.generate(model.collate_prompts([row]).to(device()), 6)[0] for row in rows]
    assert texts == alone, "what is written depends on padding or on other rows"
    for text, shorter in zip(texts, model.generate(inputs.to(device()), 2), strict=True):
        assert text.startswith(shorter), "fewer new tokens are not the first of more"
    stop = next((text[1] for text in texts if len(text) > 1), "x")
    for text, stopped in zip(texts, model.generate(inputs.to(device()), 6, [stop]), strict=True):
        assert stopped == text.partition(stop)[0], "a text does not end before a stop string"
