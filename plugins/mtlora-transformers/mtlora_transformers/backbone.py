"""The ``transformers`` backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor, nn

from mtlora_core.context import Contexts
from mtlora_core.errors import CompositionError
from mtlora_core.inputs import Input
from mtlora_core.interfaces import Backbone, Encoded, Inputs

from .loading import save_quietly
from .options import TransformersOptions
from .pooling import POOLINGS
from .verification import verify


class Reader(Protocol):
    """Turns inputs into a model's batches."""

    @property
    def skipped(self) -> int:
        """How many tokens stand before those of the input, and are left out of its mean."""

    def load(self) -> None:
        """Load what the model's files say of its inputs, so that a fault is known now."""

    def save(self, folder: Path) -> None:
        """Write that as ``from_pretrained`` reads it."""

    def encode(self, inputs: Sequence[Input], max_length: int) -> list[Encoded]:
        """Encode inputs, at most ``max_length`` tokens each."""

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Make a batch of encodings, on the CPU."""

    def arguments(self, inputs: Inputs) -> Mapping[str, Any]:
        """Return what the model is called with."""


class TransformersBackbone(Backbone):
    """A frozen model of Hugging Face transformers without its task head.

    Wolf et al., "Transformers: State-of-the-Art Natural Language Processing",
    https://arxiv.org/abs/1910.03771. Features are the pooled last hidden state; the pooler that
    BERT adds to it is not used.

    Args:
        options: Name the model and say how to read it.
        module: The model.
        reader: What turns inputs into its batches.
        config: The model's configuration as its files say it; that of ``module`` is without
            dropout, among others.

    Raises:
        CompositionError: the model is not as the family table says.
    """

    def __init__(
        self, options: TransformersOptions, module: nn.Module, reader: Reader, config: Any
    ) -> None:
        super().__init__()
        shape = options.shape()
        self.options = options
        self.width = shape.width
        self.source = options.model
        self.module = module
        self.reader = reader
        self.config = config
        self.checkpointing = False
        self.pooling = options.pooling_for(shape)
        verify(self.module, shape)

    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        """Encode inputs, at most ``max_length`` tokens each."""
        return self.reader.encode(inputs, self.limit(max_length))

    def limit(self, max_length: int | None) -> int:
        """Return how many tokens of an input are kept where a task asks for ``max_length``."""
        return min(max_length or self.options.max_length, self.options.max_length)

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad encodings on the right, where no position depends on them."""
        return self.reader.collate(rows)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the last hidden states ``[b, t, width]``."""
        hidden: Tensor = self.module(**self.reader.arguments(inputs)).last_hidden_state
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the hidden state of each row that ``pooling`` names, in float32."""
        first = self.reader.skipped if self.pooling == "mean" else 0
        return POOLINGS[self.pooling](hidden[:, first:].float(), mask[:, first:])

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write ``module`` and its tokenizer as ``from_pretrained`` reads them.

        Its configuration says what that of the model's own files says.
        """
        whole: Any = copy(module)
        whole.config = deepcopy(self.config)  # saving notes dtype and class in it
        save_quietly(whole, folder)
        self.reader.save(folder)

    def checkpoint(self, context_fn: Callable[[], Contexts]) -> None:
        """Recompute each layer's activations in backward, non-re-entrant.

        transformers recomputes in train mode only, so the model stays in it from now on; with
        its dropout off that changes nothing else.
        """
        arguments = {"use_reentrant": False, "context_fn": context_fn}
        module: Any = self.module
        # Renamed in transformers 5; the old name warns there and goes in 6.
        enable = getattr(module, "activation_checkpointing_enable", None)
        try:
            (enable or module.gradient_checkpointing_enable)(arguments)
        except ValueError as error:
            raise CompositionError(f"model {self.options.model!r}: {error}") from error
        # transformers 5 also makes embeddings ask for gradients, for re-entrant checkpointing:
        # that would send them below the first adapter, by a hook that cannot be pickled.
        with suppress(AttributeError):  # transformers 4 does not, and cannot undo it either
            module.disable_input_require_grads()
        self.checkpointing = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a checkpointed model stays in train mode, see :meth:`checkpoint`."""
        super().train(mode)
        if self.checkpointing:
            self.module.train()
        return self
