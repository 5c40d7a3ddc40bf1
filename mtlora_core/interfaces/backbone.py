"""The frozen model: what it reads, and what is learnt on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..context import Contexts
from ..errors import CompositionError
from ..inputs import Input


@dataclass(frozen=True)
class Encoded:
    """One input, ready to be put in a batch."""

    features: Mapping[str, Any]
    """By the name of the model's argument; for text, lists of token ids."""
    length: int
    """Its cost, by which batches of similar inputs are made: tokens."""
    truncated: bool = False
    """Whether something was cut off to keep ``max_length``."""
    targets: int = 0
    """How many of the tokens are an answer that a causal task learns to say."""


@dataclass(frozen=True)
class Inputs:
    """A batch as the backbone takes it."""

    tensors: Mapping[str, Tensor]
    mask: Tensor
    """``[b, t]``, true for real tokens."""
    targets: Tensor | None = None
    """``[b, t]``, the token that each position is to say next, -100 where nothing is asked of it;
    None where no row has an answer."""

    def to(self, device: torch.device) -> Inputs:
        """Return the batch on ``device``."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        targets = None if self.targets is None else self.targets.to(device)
        return Inputs(moved, self.mask.to(device), targets)


class Backbone(nn.Module, ABC):
    """A frozen pretrained model and what turns inputs into its batches.

    Its own dropout is off, in training too: a frozen model's features need none, and activation
    checkpointing, for which transformers wants train mode, then changes nothing.
    """

    module: nn.Module
    """The pretrained model; adapters attach to its modules by the names of its shape. A forward
    calls it as a whole, by which adapters know where one begins and ends."""
    width: int
    """Width of the features that heads read."""
    source: str = ""
    """Where the pretrained model is from, as its users name it, such as a name of the hub."""
    prefix: str = ""
    """Path of ``module`` in the model as users load it, with a dot behind it; empty where that
    is ``module`` itself."""

    @abstractmethod
    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        """Encode inputs, at most ``max_length`` tokens each; None: the backbone's own limit.

        Raises:
            DataError: an input is of a kind that this model does not read, or cannot be read.
        """

    @abstractmethod
    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad encodings to one length and make tensors of them, on the CPU."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """Return the last hidden states ``[b, t, width]``."""

    @abstractmethod
    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the features ``[b, width]`` that heads read, in float32.

        Args:
            hidden: ``[b, t, width]``, what :meth:`forward` returned.
            mask: ``[b, t]``, true for real tokens; every row has one.
        """

    def features(self, inputs: Inputs) -> Tensor:
        """Return the features ``[b, width]`` of a batch."""
        return self.pool(self(inputs), inputs.mask)

    @abstractmethod
    def checkpoint(
        self,
        context_fn: Callable[[], Contexts],
    ) -> None:
        """Recompute activations in backward instead of keeping them, non-re-entrant.

        Args:
            context_fn: Passed to :func:`torch.utils.checkpoint.checkpoint`.

        Raises:
            CompositionError: the model cannot.
        """

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a changed copy of ``module`` as the model's own library reads it.

        Args:
            module: Of the class of :attr:`module`, with other weights.
            folder: Made already, and empty.

        Raises:
            CompositionError: this kind of backbone cannot be written.
        """
        raise CompositionError(f"{type(self).__name__} does not write models")


class LanguageModel(Backbone):
    """A causal backbone with its language-modelling head: what causal tasks are learnt with."""

    @abstractmethod
    def encode_answers(
        self, prompts: Sequence[Input], answers: Sequence[str], max_length: int | None = None
    ) -> list[Encoded]:
        """Encode prompts, each followed by its answer and the token that ends it.

        The tokens are those of the prompt as :meth:`encode` has them and those of the answer on
        its own, so training sees what generation will. Only the answer and its end are targets.
        A prompt that is too long loses its beginning, never its end, and an answer nothing.

        Raises:
            DataError: an input is no text or chat, or an answer alone is longer than
                ``max_length``.
        """

    @abstractmethod
    def log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probability of each row's targets, summed over tokens.

        Args:
            hidden: ``[b, t, width]``, what :meth:`forward` returned.
            targets: ``[b, t]``, as :class:`Inputs` has them.

        Returns:
            ``[b]`` in float32, in the graph; 0 for a row without targets.
        """

    @abstractmethod
    def collate_prompts(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad encodings on the left, as generation needs them."""

    @abstractmethod
    def generate(self, inputs: Inputs, max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Return what the model says next, greedily, without special tokens.

        A row ends at its end token, before the first of the ``stop`` strings, or after
        ``max_new_tokens``.

        Args:
            inputs: What :meth:`collate_prompts` made.
            max_new_tokens: The most tokens that are said.
            stop: Strings, the first of which ends a row and is left out.
        """
