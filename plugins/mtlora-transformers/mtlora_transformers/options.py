"""Options of the ``transformers`` backbone, and the shape of the model they name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from mtlora_core.errors import CompositionError
from mtlora_core.options import BackboneOptions
from mtlora_core.sites import BackboneShape, Site

from .blocks import Blocks
from .description import Grid, describe, grid_of, positions_of
from .inspection import describe_module
from .location import folder_of, read_config, with_folder

Pooling = Literal["mean", "cls", "last"]


class TransformersOptions(BackboneOptions):
    """Options of the ``transformers`` backbone."""

    model: Annotated[str, BeforeValidator(with_folder), Field(min_length=1)]
    """A folder (relative to the recipe's file), a model of the hub such as
    ``answerdotai/model``, or ``package:name/folder`` inside an installed Python package."""
    revision: str | None = None
    """Branch, tag or commit of a model of the hub."""
    gguf_file: str | None = None
    """A GGUF file of the model, such as ``model.Q4_1.gguf``, which holds everything: weights, which
    are loaded unpacked, tokenizer and configuration. Needs the package ``gguf``."""
    max_length: PositiveInt = 128
    """Tokens of an input that are kept."""
    pooling: Pooling | None = None
    """Which token's hidden state heads read: the ``mean`` of all, the first (``cls``) or the
    ``last``; null: ``last`` for a causal model, ``cls`` for a model of pictures, else ``mean``."""
    image_size: PositiveInt | None = None
    """Side in pixels of the squares that a model of pictures reads; its positions are interpolated.
    null: as the model's image processor makes them."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the frozen weights; features are float32 in any case."""
    quantize: Literal["8bit", "4bit"] | None = None
    """Keep linear weights in 8 or 4 bits (NF4) by the package ``bitsandbytes``, of which 8 bits
    need 0.48; null: in ``dtype``."""
    trust_remote_code: bool = False
    """Whether to run Python code that comes with the model. Read that code first."""
    blocks: Blocks | None = None
    """Where the blocks are, for a model that the family table does not know."""

    def shape(self) -> BackboneShape:
        """Describe the model from its ``config.json``, which a hub model may have to download.

        With ``gguf_file``, from what that file says of itself.

        Raises:
            CompositionError: the configuration cannot be read, or its family is unknown.
        """
        try:
            shape = describe(self._config(), self.blocks)
        except CompositionError as error:
            raise CompositionError(
                [f"model {self.model!r}: {p}" for p in error.problems]
            ) from error
        return replace(shape, packed=self.quantize is not None)

    @classmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        """Describe a transformers model that the user has built, with or without a task head.

        Raises:
            CompositionError: it is no transformers model, or of an unknown family.
        """
        return describe_module(module)

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield what cannot work with this model."""
        positions = self.positions()
        if positions is not None and self.max_length > positions:
            yield (
                "max_length",
                f"the model has positions for {positions} tokens, not {self.max_length}",
            )
        if self.pooling == "cls" and shape.causal:
            yield (
                "pooling",
                "the first token of a causal model sees nothing but itself; write last or mean",
            )
        yield from self._picturing()
        if self.revision is not None and folder_of(self.model) is not None:
            yield "revision", f"{self.model} is a folder and has no revisions; leave it out"
        if self.gguf_file is not None and find_spec("gguf") is None:
            yield "gguf_file", "GGUF files need a package that is not installed: pip install gguf"
        if self.quantize is not None:
            yield from self._quantizing()

    def _picturing(self) -> Iterator[tuple[str, str]]:
        grid = self.grid()
        if grid is None:
            if self.image_size is not None:
                yield "image_size", "the model reads texts, which have none; leave it out"
            return
        if self.pooling == "last":
            yield "pooling", "the last token of a picture is its corner; write cls or mean"
        if self.image_size is not None and self.image_size % grid.patch:
            near = max(round(self.image_size / grid.patch), 1) * grid.patch
            yield (
                "image_size",
                f"{self.image_size} pixels are no whole number of patches of {grid.patch}; write "
                f"{near}",
            )

    def _quantizing(self) -> Iterator[tuple[str, str]]:
        if self.gguf_file is not None:
            yield (
                "quantize",
                "weights of a GGUF file are unpacked, not quantized again; leave it out",
            )
        try:
            installed = version("bitsandbytes")
        except PackageNotFoundError:
            yield (
                "quantize",
                f"{self.quantize} weights need a package that is not installed: pip install "
                "'bitsandbytes>=0.48', or leave quantize out",
            )
            return
        if self.quantize == "8bit" and tuple(map(int, installed.split(".")[:2])) < (0, 48):
            yield (
                "quantize",
                f"bitsandbytes {installed} quantizes 8-bit weights again when they come back from "
                "the CPU, where a model is put together, and loses their scales: pip install "
                "'bitsandbytes>=0.48', or write 4bit",
            )

    def positions(self) -> int | None:
        """Return how many tokens the model has positions for, or None where that is unknown."""
        return positions_of(self._config())

    def _config(self) -> dict[str, Any]:
        return read_config(self.model, self.revision, self.gguf_file)

    def pooling_for(self, shape: BackboneShape) -> Pooling:
        """Return the pooling as written, or the usual one of the model's kind."""
        usual: Pooling = "cls" if shape.reads == "image" else "last" if shape.causal else "mean"
        return self.pooling or usual

    def grid(self) -> Grid | None:
        """Return how the model cuts pictures into tokens; None where it reads none."""
        return grid_of(self._config())
