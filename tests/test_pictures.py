"""Pictures of every depth in RGB: scaled where white is known, refused where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from mtlora_core.errors import DataError
from mtlora_core.inputs import (
    ImageBytes,
    ImageFile,
    Pixels,
    decoded,
    images_of,
    input_of,
    texts_of,
)
from mtlora_core.pictures import in_rgb

RAMP = np.arange(0, 65536, 32, dtype=np.uint16).reshape(32, 64)


def encoded(pixels: NDArray[Any], form: str) -> bytes:
    stream = BytesIO()
    Pillow.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def damaged_png() -> bytes:
    """Return a picture that begins well: only its second block of pixels has a wrong name."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    start, first, *rest = encoded(noise, "PNG").split(b"IDAT")
    assert rest, "the picture has one block only"
    return b"IDAT".join([start, first]) + b"\0\1\2\3" + b"IDAT".join(rest)


@pytest.mark.parametrize(
    ("form", "dtype"), [("PNG", "<u2"), ("PPM", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")]
)
def test_of_16_bits_the_upper_8_are_kept(form: str, dtype: str, tmp_path: Path) -> None:
    content = encoded(RAMP.astype(dtype), form)
    (tmp_path / "ramp").write_bytes(content)

    for image in (ImageBytes(content), ImageFile(str(tmp_path / "ramp"))):
        read = np.asarray(image.open())
        assert (read == (RAMP // 256)[..., None]).all()
        assert read.shape == (32, 64, 3)


def test_a_16_bit_png_that_pillow_widens_is_scaled_too() -> None:
    widened = Pillow.fromarray(RAMP.astype(np.int32))  # as older releases open it
    widened.format = "PNG"

    assert (np.asarray(in_rgb(widened)) == (RAMP // 256)[..., None]).all()


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(np.float32, "fractions (mode F)"), (np.int32, "whole numbers of 32 bits (mode I)")],
)
@pytest.mark.parametrize("scale", [1, 100, 60000])
def test_a_picture_without_a_known_white_is_refused(
    dtype: type[Any], kind: str, scale: int, tmp_path: Path
) -> None:
    path = tmp_path / "wide.tiff"
    path.write_bytes(encoded((RAMP / 65536 * scale).astype(dtype), "TIFF"))

    with pytest.raises(DataError) as caught:
        decoded(ImageFile(str(path)))

    assert caught.value.problems == (
        f"{path}: is no picture that can be read: its pixels are {kind}, and nothing says which is "
        "white; save it with 8 or 16 bits a channel",
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_other_pictures_are_read_as_pillow_reads_them(mode: str) -> None:
    colours: Sequence[int] = range(0, 255, 5)
    picture = Pillow.frombytes("RGB", (17, 1), bytes(colours)).convert(mode)

    assert np.array_equal(np.asarray(in_rgb(picture)), np.asarray(picture.convert("RGB")))


def test_what_decodes_is_handed_on() -> None:
    assert decoded(Pixels(bytes([7]), 1, 1, 1)).getpixel((0, 0)) == (7, 7, 7)


def test_damage_of_any_kind_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "damaged.png"
    path.write_bytes(damaged_png())

    with pytest.raises(DataError, match=r"damaged\.png: is no picture that can be read: broken"):
        decoded(ImageFile(str(path)))
    with pytest.raises(DataError, match=r"^a picture in memory: is no picture that can be read"):
        decoded(ImageBytes(path.read_bytes()))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_picture_of_pillow_s_is_an_input_as_it_is(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Pillow.fromarray(pixels).convert(mode)

    given = input_of(picture)

    assert isinstance(given, Pixels)
    assert decoded(given).tobytes() == picture.convert("RGB").tobytes()
    assert decoded(given).size == (7, 5)


def test_a_picture_of_pillow_s_without_a_known_white_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing says which is white"):
        input_of(Pillow.new("F", (2, 2)))
    with pytest.raises(ValueError, match="is a picture that cannot be read: "):
        input_of(Pillow.open(BytesIO(damaged_png())))


def test_a_path_is_a_picture_s_and_a_text_is_told_how_to_be_one(tmp_path: Path) -> None:
    assert input_of(tmp_path / "a.png") == ImageFile(str(tmp_path / "a.png"))
    with pytest.raises(DataError, match=r"an example is a text; give a file as ImageFile\(path\)"):
        images_of(["a.png"])
    with pytest.raises(DataError, match="reads texts, and an example is of the type bytes; take"):
        texts_of(cast(Any, [b"a"]))
