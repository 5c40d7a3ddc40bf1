"""A toy language model of letters, and a task that it can learn: which letter of four is there.

A plugin as any other; put it into ``toy_registry(language=toy_language)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_lowercase
from typing import Any

import torch
from torch import Tensor, nn
from toys import ToyEncoder, toy_shape

from mtlora_core.component import Component
from mtlora_core.context import Contexts
from mtlora_core.errors import DataError
from mtlora_core.hookspecs import hookimpl
from mtlora_core.inputs import Input, texts_of
from mtlora_core.interfaces import Encoded, Inputs, LanguageModel
from mtlora_core.options import BackboneOptions, Options
from mtlora_core.sites import BackboneShape
from mtlora_core.tasks import Example, Task, TaskData

LETTERS = f"\0{ascii_lowercase} =\n.,"
"""A token a letter; the first is the end, which also pads."""
IGNORED = -100
LIMIT = 24


class ToyLanguageOptions(BackboneOptions):
    """Options of the toy language model."""

    width: int = 16

    def shape(self) -> BackboneShape:
        """Describe the model."""
        return toy_shape(self.width, 2, causal=True)

    @classmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        """Describe its :class:`ToyEncoder`."""
        return toy_shape(module.width, len(module.layers), causal=True)


class ToyLanguageModel(LanguageModel):
    """The toy encoder, its attention causal, under a head over letters."""

    module: ToyEncoder

    def __init__(self, options: ToyLanguageOptions) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(7)
            self.module = ToyEncoder(options.width, 2, causal=True)
            self.head = nn.Linear(options.width, len(LETTERS))
        self.width = options.width

    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        """Encode letters; what is too long loses its beginning."""
        limit = max_length or LIMIT
        ids = [[LETTERS.index(letter) for letter in text] for text in map(str, texts_of(inputs))]
        return [
            Encoded({"ids": i[-limit:]}, min(len(i), limit), truncated=len(i) > limit) for i in ids
        ]

    def encode_answers(
        self, prompts: Sequence[Input], answers: Sequence[str], max_length: int | None = None
    ) -> list[Encoded]:
        """Encode prompts with their answers, each ended."""
        limit = max_length or LIMIT
        rows = []
        for prompt, answer in zip(texts_of(prompts), answers, strict=True):
            said = [*(LETTERS.index(letter) for letter in answer), 0]
            if len(said) >= limit:
                raise DataError(f"the answer {answer!r} is longer than {limit} letters")
            asked = self.encode([prompt], limit - len(said))[0]
            ids = [*asked.features["ids"], *said]
            rows.append(Encoded({"ids": ids}, len(ids), asked.truncated, targets=len(said)))
        return rows

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad on the right; a position's target is the next letter of the answer."""
        return _padded(rows, left=False)

    def collate_prompts(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad on the left."""
        return _padded(rows, left=True)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the last hidden states."""
        hidden: Tensor = self.module(inputs.tensors["ids"], inputs.mask)
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the last real letter's state."""
        return hidden[torch.arange(len(mask)), mask.sum(1) - 1]

    def log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Sum over the targets."""
        shares = self.head(hidden).float().log_softmax(-1)
        each = shares.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        said: Tensor = each.masked_fill(targets == IGNORED, 0).sum(1)
        return said

    def generate(self, inputs: Inputs, max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Write letter by letter, reading everything anew for each."""
        ids, mask, texts = inputs.tensors["ids"], inputs.mask, [""] * len(inputs.mask)
        for _ in range(max_new_tokens):
            chosen = self.head(self.module(ids, mask))[:, -1].argmax(-1)
            texts = [t + LETTERS[i] for t, i in zip(texts, chosen.tolist(), strict=True)]
            ids, mask = (
                torch.cat([ids, chosen[:, None]], 1),
                nn.functional.pad(mask, (0, 1), value=1),
            )
        return [_until(text, ("\0", *stop)) for text in texts]

    def checkpoint(self, context_fn: Callable[[], Contexts]) -> None:
        """Recompute every layer."""
        self.module.context_fn = context_fn


def _padded(rows: Sequence[Encoded], *, left: bool) -> Inputs:
    longest = max(row.length for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    targets = torch.full((len(rows), longest), IGNORED)
    for i, row in enumerate(rows):
        own = slice(longest - row.length, longest) if left else slice(0, row.length)
        ids[i, own], mask[i, own] = torch.tensor(row.features["ids"]), True
        asked = row.length - row.targets
        targets[i, asked - 1 : row.length - 1] = ids[i, asked : row.length]
    speaks = not left and any(row.targets for row in rows)
    return Inputs({"ids": ids}, mask, targets if speaks else None)


def _until(text: str, stop: Sequence[str]) -> str:
    for each in stop:
        text = text.split(each)[0]
    return text


def build_language(
    options: ToyLanguageOptions, *, meta: bool = False, language: bool = False
) -> ToyLanguageModel:
    """Build the model."""
    return ToyLanguageModel(options)


class RepeatOptions(Options):
    """Options of the task."""

    choices: bool = True
    """Whether the answers to choose from are known."""
    classes: bool = False
    """Adds a task with classes."""


def build_repeat(options: RepeatOptions, *, seed: int) -> list[TaskData]:
    """Return a task that asks for the first letter again, and one that classifies it."""
    letters = "abcd"
    prompts = [f"{x} {y}{z}=" for y in "wxyz" for z in "wxyz" for x in letters]
    rows = [Example(prompt, prompt[0]) for prompt in prompts]
    labels = tuple(letters) if options.choices else ()
    task = TaskData(Task("repeat", "causal", labels), rows[:32], rows[32:48], rows[48:])
    if not options.classes:
        return [task]
    named = [Example(prompt, letters.index(prompt[0])) for prompt in prompts]
    classes = Task("name", labels=tuple(letters))
    return [task, TaskData(classes, named[:32], named[32:48], named[48:])]


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the toys."""
    return [
        Component(
            "backbone",
            "toy-language",
            "toy_language:ToyLanguageOptions",
            "toy_language:build_language",
            "a toy that writes",
            capabilities={"language": True},
        ),
        Component(
            "tasks", "repeat", "toy_language:RepeatOptions", "toy_language:build_repeat", "t"
        ),
    ]
