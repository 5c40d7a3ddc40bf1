"""Pictures in RGB, whatever their pixels are kept as."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def in_rgb(picture: Picture) -> Picture:
    """Return a picture in RGB, a byte a channel.

    Of 16 bits the upper 8 are kept, as Pillow keeps them of pictures in colour; asked for RGB, it
    would clip grey ones to white.

    Raises:
        ValueError: the picture has no white to scale by, see :func:`without_white`.
    """
    if reason := without_white(picture):
        raise ValueError(reason)
    if _is_of_16_bits(picture):
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    return picture.convert("RGB")


def without_white(picture: Picture) -> str | None:
    """Return why nothing says which value of the pixels is white, by the mode; None if it is known.

    Pillow would clip such values to 0..255 in silence, and what is scaled by its own brightest
    pixel could not be compared with another picture.
    """
    kinds = {"F": "fractions", "I": "whole numbers of 32 bits"}
    if picture.mode not in kinds or _is_of_16_bits(picture):
        return None
    return (
        f"its pixels are {kinds[picture.mode]} (mode {picture.mode}), and nothing says which is "
        "white; save it with 8 or 16 bits a channel"
    )


def _is_of_16_bits(picture: Picture) -> bool:
    # PNG and PGM hold no grey wider than that, and Pillow widens it, PNG's in older releases only.
    widened = picture.mode == "I" and picture.format in ("PNG", "PPM")
    return widened or picture.mode.startswith("I;16")
