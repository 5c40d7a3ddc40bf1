"""From pictures to what a model reads, the way that it was evaluated."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mtlora_core.inputs import Image, decoded

from .library import timm


class Preprocessing:
    """Makes ``[3, h, w]`` of a picture by timm's own resizing, cropping and scaling.

    Args:
        module: The model; it knows its image size, and which mean and deviation it was trained on.
        crop: Share of a picture's side that is kept; None: the model's own.
    """

    def __init__(self, module: Any, crop: float | None) -> None:
        given = {"input_size": (3, *module.patch_embed.img_size), "crop_pct": crop}
        config = timm.data.resolve_model_data_config(module, args=given)
        self.transform: Any = timm.data.create_transform(**config, is_training=False)

    def __call__(self, image: Image) -> Tensor:
        """Return a picture as the model reads it.

        Raises:
            DataError: it cannot be decoded.
        """
        tensor: Tensor = self.transform(decoded(image))
        return tensor
