"""From pictures to a batch, by the model's own image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from mtlora_core.errors import CompositionError
from mtlora_core.inputs import Input, decoded, images_of
from mtlora_core.interfaces import Encoded, Inputs

from .description import Grid
from .loading import load_processor, save_quietly
from .options import TransformersOptions

if TYPE_CHECKING:
    from pathlib import Path


class Pictures:
    """Reads pictures for one model.

    They are decoded and prepared when a batch is collated, and not kept: a file's name is all
    that an encoding holds.

    Args:
        options: Name the model, whose image processor is loaded when first used.
        grid: How the model cuts a picture into tokens.
    """

    def __init__(self, options: TransformersOptions, grid: Grid) -> None:
        self.options = options
        self.grid = grid

    @property
    def skipped(self) -> int:
        """How many tokens stand before those of the picture, and are left out of its mean."""
        return self.grid.before

    @cached_property
    def processor(self) -> Any:
        """The model's image processor, with the side that ``image_size`` asks for."""
        processor = load_processor(self.options)
        if self.options.image_size is not None:
            _resize(processor, self.options.image_size)
        _side(processor)  # known now
        return processor

    def load(self) -> None:
        """Load the image processor, if that has not been done."""
        _ = self.processor

    def save(self, folder: Path) -> None:
        """Write the image processor as ``from_pretrained`` reads it."""
        save_quietly(self.processor, folder)

    def encode(self, inputs: Sequence[Input], max_length: int) -> list[Encoded]:
        """Return the pictures as they are; none has more tokens than another, and none is cut."""
        length = self.grid.tokens(_side(self.processor))
        return [Encoded({"image": image}, length) for image in images_of(inputs)]

    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Decode and prepare the pictures of a batch.

        Raises:
            DataError: a file cannot be read as a picture.
        """
        pictures = [decoded(row.features["image"]) for row in rows]
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        mask = torch.ones(len(rows), rows[0].length, dtype=torch.bool)
        return Inputs({"pixel_values": pixels}, mask)

    def arguments(self, inputs: Inputs) -> Mapping[str, Any]:
        """Return what the model is called with."""
        if not self.grid.asked_to_interpolate:
            return inputs.tensors
        return {**inputs.tensors, "interpolate_pos_encoding": True}


def _side(processor: Any) -> int:
    """Return the side of the squares that a processor makes."""
    last = processor.crop_size if getattr(processor, "do_center_crop", None) else processor.size
    sides = {last[key] for key in ("height", "width") if key in last}
    if len(sides) != 1:
        raise CompositionError(
            f"the model's image processor makes pictures of {dict(last)}, which are no squares of "
            "one size; say image_size"
        )
    return int(sides.pop())


def _resize(processor: Any, side: int) -> None:
    """Make a processor's squares ``side`` wide, and what they are cut from in proportion."""
    square = {"height": side, "width": side}
    if not getattr(processor, "do_center_crop", None):
        processor.size = type(processor.size)(**square)
        return
    scale = side / processor.crop_size["height"]
    before = {k: round(v * scale) for k, v in dict(processor.size).items() if v is not None}
    processor.size = type(processor.size)(**before)
    processor.crop_size = type(processor.crop_size)(**square)
