"""What a model reads of one example, as plain data: a text, a chat, or a picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, get_args

from .errors import DataError
from .pictures import in_rgb

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Text = str | tuple[str, str]
"""What a text model reads: one text, or a pair given to the tokenizer as a pair."""


@dataclass(frozen=True)
class Chat:
    """What was said so far, for a model that is to go on."""

    messages: tuple[tuple[str, str], ...]
    """Role (``system``, ``user`` or ``assistant``) and content of each, in order."""


@dataclass(frozen=True)
class ImageFile:
    """A picture in a file, decoded when a batch asks for it."""

    path: str

    def open(self) -> Picture:
        """Return the picture in RGB.

        Raises:
            Exception: the file cannot be read, or is no picture; see :func:`decoded`.
        """
        from PIL import Image

        with Image.open(self.path) as picture:
            return in_rgb(picture)

    def identity(self) -> str:
        """Return what stands for the picture's content."""
        return hashlib.sha256(Path(self.path).read_bytes()).hexdigest()


@dataclass(frozen=True)
class ImageBytes:
    """A picture in memory, encoded as in a file: PNG, JPEG and so on."""

    data: bytes

    def open(self) -> Picture:
        """Return the picture in RGB.

        Raises:
            Exception: the bytes are no picture; see :func:`decoded`.
        """
        from PIL import Image

        with Image.open(BytesIO(self.data)) as picture:
            return in_rgb(picture)

    def identity(self) -> str:
        """Return what stands for the picture's content."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Pixels:
    """A picture in memory."""

    data: bytes
    """Row by row, a byte a channel."""
    height: int
    width: int
    channels: Literal[1, 3]

    def open(self) -> Picture:
        """Return the picture in RGB."""
        from PIL import Image

        mode = "L" if self.channels == 1 else "RGB"
        return Image.frombytes(mode, (self.width, self.height), self.data).convert("RGB")

    def identity(self) -> str:
        """Return what stands for the picture's content."""
        size = f"{self.height}x{self.width}x{self.channels}"
        return f"{size} {hashlib.sha256(self.data).hexdigest()}"


Image = ImageFile | ImageBytes | Pixels
Input = Text | Chat | Image
"""What a model reads of one example."""


def identity(given: Input) -> str:
    """Return what is equal for equal inputs only: a picture's is its content's."""
    if isinstance(given, Image):
        return given.identity()
    return json.dumps(["chat", *given.messages] if isinstance(given, Chat) else given)


def decoded(image: Image) -> Picture:
    """Return a picture in RGB, as a model's preprocessing takes it.

    Raises:
        DataError: it cannot be decoded, with its file and why.
    """
    try:
        return image.open()
    except Exception as error:  # damaged pictures fail in every way there is
        name = image.path if isinstance(image, ImageFile) else "a picture in memory"
        raise DataError(f"{name}: is no picture that can be read: {error}") from error


def texts_of(inputs: Sequence[Input]) -> list[Text]:
    """Return inputs of a model that reads texts and pairs of texts only.

    Raises:
        DataError: one is something else.
    """
    return [each if isinstance(each, str | tuple) else _refuse(each, "texts") for each in inputs]


def images_of(inputs: Sequence[Input]) -> list[Image]:
    """Return inputs of a model that reads pictures only.

    Raises:
        DataError: one is something else.
    """
    return [each if isinstance(each, Image) else _refuse(each, "pictures") for each in inputs]


def _refuse(given: Input, wanted: str) -> NoReturn:
    kinds = {Chat: "a chat", tuple: "a pair of texts"} | dict.fromkeys(get_args(Image), "a picture")
    found = kinds.get(type(given), "a text")
    raise DataError(
        f"the backbone reads {wanted}, and an example is {found}; take another backbone"
    )
