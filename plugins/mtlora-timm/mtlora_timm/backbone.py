"""The ``timm`` backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtlora_core.context import Contexts
from mtlora_core.errors import CompositionError
from mtlora_core.inputs import Input, images_of
from mtlora_core.interfaces import Backbone, Encoded, Inputs

from .loading import load_model
from .options import TimmOptions
from .preprocessing import Preprocessing


class TimmBackbone(Backbone):
    """A frozen vision transformer of timm.

    Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
    Scale", https://arxiv.org/abs/2010.11929; the library is Wightman's, "PyTorch Image Models".
    Tokens are the class token and registers, where the model has them, and the patches.

    Args:
        options: Name the model and say how to read it.
        meta: Build it without weights on the meta device.

    Raises:
        CompositionError: the model cannot be loaded, is not as the table says, or has no class
            token to read.
    """

    def __init__(self, options: TimmOptions, *, meta: bool = False) -> None:
        super().__init__()
        self.options = options
        module: Any = load_model(options, meta=meta)
        if options.pooling == "cls" and not module.has_class_token:
            raise CompositionError(
                f"model {options.model!r} has no class token; write `pooling: mean`, or leave out "
                "`pooling`"
            )
        # The module's own forward would pool, too, and heads are not all that read tokens.
        module.forward = module.forward_features
        self.module = module
        self.width = module.embed_dim
        self._tokens = module.num_prefix_tokens + module.patch_embed.num_patches

    @cached_property
    def _read(self) -> Preprocessing:
        # Not before it is used: composed without weights, its numbers would be without values.
        return Preprocessing(self.module, self.options.crop)

    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        """Note pictures, to be read when a batch wants them; all have as many tokens.

        ``max_length`` is for texts: a picture has the tokens of its size, and loses none.
        """
        return [Encoded({"image": image}, self._tokens) for image in images_of(inputs)]

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Read pictures and bring them to one size.

        Raises:
            DataError: a picture cannot be read.
        """
        pixels = torch.stack([self._read(row.features["image"]) for row in rows])
        return Inputs({"pixels": pixels}, torch.ones(len(rows), self._tokens, dtype=torch.bool))

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the last hidden states ``[b, t, width]``, prefix tokens first."""
        weight = next(self.module.parameters())
        hidden: Tensor = self.module(inputs.tensors["pixels"].to(weight.dtype))
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the features that ``pooling`` names, in float32; every token is real."""
        module: Any = self.module
        if self.options.pooling is None:
            features: Tensor = module.forward_head(hidden, pre_logits=True)
            return features.float()
        own = (
            slice(0, 1) if self.options.pooling == "cls" else slice(module.num_prefix_tokens, None)
        )
        pooled: Tensor = module.fc_norm(hidden[:, own].mean(1))
        return pooled.float()

    def checkpoint(self, context_fn: Callable[[], Contexts]) -> None:
        """Recompute each layer's activations in backward, non-re-entrant.

        timm's own checkpointing takes no contexts, so each layer's forward is wrapped; hooks,
        class and state dict stay as they are.
        """
        module: Any = self.module
        for block in module.blocks:
            _recompute(block, context_fn)


def _recompute(block: nn.Module, context_fn: Callable[[], Contexts]) -> None:
    forward = MethodType(type(block).forward, block)
    recomputed = partial(checkpoint, forward, use_reentrant=False, context_fn=context_fn)
    setattr(block, "forward", recomputed)  # noqa: B010 - a method, to the checker


def build(options: TimmOptions, *, meta: bool = False) -> TimmBackbone:
    """Return the backbone that ``options`` name.

    Raises:
        CompositionError: the model cannot be loaded or is not as the table says.
    """
    return TimmBackbone(options, meta=meta)
