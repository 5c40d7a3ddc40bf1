"""A causal model of transformers with its output head, which says answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlora_core.errors import CompositionError, DataError
from mtlora_core.inputs import Input
from mtlora_core.interfaces import Encoded, Inputs, LanguageModel

from .backbone import TransformersBackbone
from .encoding import Texts
from .generation import Writer
from .library import transformers
from .options import TransformersOptions
from .quiet import quiet


class TransformersLanguageModel(TransformersBackbone, LanguageModel):
    """A frozen causal model of Hugging Face transformers and its output head.

    ``module`` is the model without the head, as for other tasks, so that sites have the same
    names. The head stands beside it, unless it shares the embedding's weight: then it is
    reached through the model, and no tensor is kept twice. What all tasks of such a model read
    loses its beginning where it is too long: what is asked stands at its end.

    Args:
        options: Name the model and say how to read it.
        causal: The model, with its head.
        reader: What turns inputs into its batches.
        config: The model's configuration as its files say it.
        check: Whether the head is held against the model's own logits, which takes weights.

    Raises:
        CompositionError: the model is not as the family table says, or does more to its logits
            than the head, or its tokenizer has no end token.
    """

    reader: Texts
    head: nn.Module | None
    """The output head, where it has a weight of its own."""

    def __init__(
        self,
        options: TransformersOptions,
        causal: Any,
        reader: Texts,
        config: Any,
        *,
        check: bool = True,
    ) -> None:
        path, base = _base(causal)
        super().__init__(options, base, reader, config)
        self.prefix = f"{path}."
        head, embedding = causal.get_output_embeddings(), causal.get_input_embeddings()
        self.head = None if head.weight is embedding.weight else head
        self.generation = _generation(causal, config)
        self.writer = Writer(causal, reader, options.positions())
        if check:
            _check_end(options, reader)
            _check_head(self, causal)

    def encode_answers(
        self, prompts: Sequence[Input], answers: Sequence[str], max_length: int | None = None
    ) -> list[Encoded]:
        """Encode prompts, each followed by its answer and the token that ends it.

        A prompt that is too long loses its beginning, a token for the beginning of texts apart.

        Raises:
            DataError: an input is no text or chat, or an answer leaves no room for a prompt.
        """
        limit = self.limit(max_length)
        rows = self.reader.encode(prompts, limit)
        said = [self.reader.said(answer) for answer in answers]
        if long := [i for i, ids in enumerate(said) if len(ids) >= limit]:
            raise DataError(_too_long(answers[i], len(said[i]), limit) for i in long[:3])
        return [self._answered(row, ids, limit) for row, ids in zip(rows, said, strict=True)]

    def _answered(self, prompt: Encoded, said: list[int], limit: int) -> Encoded:
        whole = prompt.features["input_ids"]
        kept = self.reader.shortened(whole, limit - len(said))
        truncated = prompt.truncated or len(kept) < len(whole)
        ids = [*kept, *said]
        return Encoded({"input_ids": ids}, len(ids), truncated, targets=len(said))

    def log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probability of each row's targets, summed over tokens, as ``[b]``.

        Logits are computed where something is to be said, and nowhere else.
        """
        asked = targets != -100
        logits = self.logits(hidden[asked]).float()  # [n, vocabulary]
        said = -F.cross_entropy(logits, targets[asked], reduction="none")
        return torch.zeros_like(targets, dtype=said.dtype).masked_scatter(asked, said).sum(1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits ``[..., vocabulary]`` of hidden states ``[..., width]``."""
        logits: Tensor = self.writer.causal.get_output_embeddings()(hidden)
        # Gemma-2 bends its logits, and a configuration of Gemma-3 may ask for it.
        cap = getattr(self.module.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def collate_prompts(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad encodings on the left, as generation needs them."""
        return self.reader.collate(rows, left=True)

    def generate(self, inputs: Inputs, max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Return what the model says next, greedily, without special tokens.

        Prompts lose their beginning where the model has not the positions for them and
        ``max_new_tokens`` more.

        Raises:
            CompositionError: it has not even the positions for the new tokens.
        """
        with self._cached():
            return self.writer.write(inputs, max_new_tokens, stop)

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write ``module`` under its output head, and the tokenizer.

        What is said of generation is what the model's own files say, too.
        """
        whole = copy(self.writer.causal)
        whole._modules = {**whole._modules, self.prefix.removesuffix("."): module}
        weight = next(module.parameters())
        whole.set_output_embeddings(deepcopy(whole.get_output_embeddings()).to(weight))
        whole.tie_weights()  # a head that is the embedding is written once
        super().save(whole, folder)
        # Not by the library's own saving, which refuses what some published files say.
        self.generation.to_json_file(folder / "generation_config.json")

    @contextmanager
    def _cached(self) -> Iterator[None]:
        """Be in eval mode inside: a checkpointed model in train mode keeps no keys and values."""
        mode = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.module.train(mode)


def _base(causal: Any) -> tuple[str, nn.Module]:
    """Return the model without its head, and its name in the one with it."""
    # transformers 4 knows one or the other of each family, and 5 both.
    found = (causal.base_model, causal.get_decoder())
    return next((name, part) for name, part in causal.named_children() if part in found)


def _generation(causal: Any, config: Any) -> Any:
    """Return what a model's own files say of generation, such as sampling and its temperature."""
    own = causal.generation_config
    if not getattr(own, "_from_model_config", False):
        return own
    # No file of their own: it was made of the configuration, ours, without a cache.
    with quiet():
        return transformers.GenerationConfig.from_model_config(config)


def _too_long(answer: str, length: int, limit: int) -> str:
    return (
        f"the answer {answer[:40]!r}{'…' * (len(answer) > 40)} has {length} tokens with its end, "
        f"which leaves no room for a prompt; write a max_length above {limit}"
    )


def _check_end(options: TransformersOptions, reader: Texts) -> None:
    if reader.tokenizer.eos_token_id is None:
        raise CompositionError(
            f"model {options.model!r}: its tokenizer has no end token (`eos_token`), so no answer "
            "of a causal task could end; take another model"
        )


@torch.no_grad()
def _check_head(model: TransformersLanguageModel, causal: Any) -> None:
    """Hold our logits against the model's own, for one token: a family may do more to them."""
    ids = torch.tensor([[model.reader.tokenizer.eos_token_id]], device=causal.device)
    own = model.logits(model.module(ids).last_hidden_state).float()
    theirs = causal(ids).logits.float()
    if (own - theirs).norm() > 0.01 * theirs.norm():
        raise CompositionError(
            f"model {model.options.model!r}: the logits of {type(causal).__name__} are not those "
            "of its output head alone, so its causal tasks would be learnt with wrong losses; "
            "take a model of a family of the table"
        )
