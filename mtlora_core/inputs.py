"""What a model reads of one example, as plain data: a text, a chat, or a picture."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, TypeGuard

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
    kinds = {str: "a text", tuple: "a pair of texts", Chat: "a chat"}
    found = "a picture" if isinstance(given, Image) else kinds.get(type(given)) or _named(given)
    is_path = wanted == "pictures" and isinstance(given, str)
    advice = "give a file as ImageFile(path), or " if is_path else ""
    raise DataError(
        f"the backbone reads {wanted}, and an example is {found}; {advice}take another backbone"
    )


def input_of(value: object) -> Input:
    """Return what a model is to read, given in any way that is as clear.

    Args:
        value: An input; or a list of two texts for a pair, a path or a picture of Pillow's for a
            picture.

    Raises:
        ValueError: it is something else, or a picture of which nothing says what is white.
    """
    match value:
        case str() | Chat() | ImageFile() | ImageBytes() | Pixels():
            return value
        case [str(first), str(second)]:
            return first, second
        case Path():
            return ImageFile(str(value))
    if _is_picture(value):
        try:
            picture = in_rgb(value)
        except (OSError, SyntaxError) as error:  # Pillow reads a file when it is first asked for
            raise ValueError(f"is a picture that cannot be read: {error}") from error
        return Pixels(picture.tobytes(), picture.height, picture.width, 3)
    raise ValueError(
        f"is {_named(value)}; give a text, two texts for a pair, a Chat, or a picture as "
        "ImageFile(path) or ImageBytes(data)"
    )


def _is_picture(value: object) -> TypeGuard[Picture]:
    if "PIL.Image" not in sys.modules:  # then nobody has made one
        return False
    from PIL import Image

    return isinstance(value, Image.Image)


def _named(value: object) -> str:
    return "None" if value is None else f"of the type {type(value).__name__}"
