"""Options of the ``timm`` backbone, and the shape of the model they name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from mtlora_core.errors import CompositionError
from mtlora_core.options import BackboneOptions, Options, RecipePath
from mtlora_core.sites import BackboneShape, Site

from .description import describe
from .inspection import describe_module
from .variants import Variant, patch_of, variant_of

Pooling = Literal["cls", "mean"]


def _safe(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path.name} is no .safetensors file, and other formats run code when they are read; "
            "load it where you trust it and write it with safetensors.torch.save_file"
        )
    return path


class Architecture(Options):
    """In what a model of your own differs from the one it is named after, in timm's arguments."""

    embed_dim: PositiveInt | None = None
    """Width of the residual stream."""
    depth: PositiveInt | None = None
    """Layers."""
    num_heads: PositiveInt | None = None
    """Heads of attention; they divide ``embed_dim``."""
    mlp_ratio: PositiveFloat | None = None
    """Width of the FFN's inside, as a multiple of ``embed_dim``."""
    patch_size: PositiveInt | None = None
    """Side of a patch in pixels."""

    def arguments(self) -> dict[str, Any]:
        """Return what was written, as ``timm.create_model`` takes it."""
        return self.model_dump(exclude_none=True)


class TimmOptions(BackboneOptions):
    """Options of the ``timm`` backbone."""

    model: Annotated[str, Field(min_length=1)]
    """A vision transformer by its name in timm, such as ``vit_small_patch14_dinov2.lvd142m``;
    behind the dot stands which of its pretrained weights, which know how pictures are scaled."""
    checkpoint: Annotated[RecipePath, AfterValidator(_safe)] | None = None
    """A .safetensors file with the weights, relative to the recipe's file."""
    pretrained: bool = False
    """Whether to take the weights from the hub, by the model's name."""
    image_size: PositiveInt | None = None
    """Side in pixels that pictures are brought to, a multiple of the patch; positions are
    resampled; null: as the model was trained."""
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of a picture's side that is kept, around its middle; 1 keeps the border; null: as the
    model was evaluated."""
    pooling: Pooling | None = None
    """What heads read: the class token (``cls``) or the ``mean`` of the patches; null: the model's
    own way."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the frozen weights; features are float32 in any case."""
    architecture: Architecture = Architecture()
    """In what the model differs from the one it is named after."""

    def shape(self) -> BackboneShape:
        """Describe the model from its name.

        Raises:
            CompositionError: it is of no kind that is known by its name.
        """
        return describe(self._variant().size)

    @classmethod
    def shape_of(cls, module: Any) -> BackboneShape:
        """Describe a vision transformer of timm that the user has built, with or without a head.

        Raises:
            CompositionError: it is none, or of another kind of layers.
        """
        return describe_module(module)

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield what cannot work with this model."""
        patch = self.architecture.patch_size or patch_of(self.model)
        if self.image_size and patch and self.image_size % patch:
            near = max(1, round(self.image_size / patch)) * patch
            yield (
                "image_size",
                f"{self.image_size} is no multiple of the patch, {patch}; say {near}",
            )
        if self.checkpoint is not None and not self.checkpoint.is_file():
            yield "checkpoint", f"there is no file {self.checkpoint}"
        if self.checkpoint is not None and self.pretrained:
            yield "pretrained", "the weights come from the hub or from `checkpoint`; leave one out"

    def _variant(self) -> Variant:
        own = self.architecture
        try:
            named = variant_of(self.model)
        except CompositionError as error:
            if own.embed_dim is None or own.depth is None:
                raise CompositionError(f"model {self.model!r} {error}") from error
            named = Variant(own.embed_dim)
        return Variant(
            own.embed_dim or named.embed_dim,
            own.depth or named.depth,
            own.mlp_ratio or named.mlp_ratio,
            named.gated,
        )
