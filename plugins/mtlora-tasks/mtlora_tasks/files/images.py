"""Pictures: in a column of a table, or in a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from mtlora_core.inputs import ImageBytes, ImageFile
from mtlora_core.pictures import without_white

from .faults import Faults
from .paths import class_folders, pictures_in
from .row import Row


def folder_rows(path: Path, faults: Faults) -> list[Row]:
    """Return the pictures of a folder with a sub-folder for each class, which are their labels."""
    return [
        Row(folder, index, None, ImageFile(str(file)), folder.name)
        for folder in class_folders(path)
        for index, file in enumerate(pictures_in(folder))
        if _is_noted_whole(folder, index, file, faults)
    ]


def _is_noted_whole(folder: Path, index: int, file: Path, faults: Faults) -> bool:
    reason = undecodable(ImageFile(str(file)))
    if reason:
        faults.add(folder, index, reason)
    return reason is None


def column_of(table: datasets.Dataset, name: str) -> list[Any]:
    """Return a column's values; pictures as they are kept, not decoded."""
    if isinstance(table.features[name], datasets.Image):
        table = table.cast_column(name, datasets.Image(decode=False))
    values: list[Any] = table[name][:]
    return values


def picture_of(value: str | Mapping[str, Any], folder: Path) -> ImageFile | ImageBytes:
    """Return the picture of a column's value: a path relative to ``folder``, or bytes."""
    if isinstance(value, str):
        return ImageFile(str(folder / value))
    return ImageBytes(value["bytes"]) if value.get("bytes") else ImageFile(str(value["path"]))


def wrong_picture(column: str, value: Any, folder: Path) -> Iterator[tuple[str, object]]:
    """Yield what keeps a column's value from being a picture, with what was found for ``{}``."""
    if value is None or value == "":
        yield f"column {column!r} has no picture", None
    elif not isinstance(value, str) and not _is_kept(value):
        yield f"column {column!r} has {{}}, which is neither a path nor a picture", value
    elif reason := undecodable(picture_of(value, folder)):
        name = value if isinstance(value, str) else "a picture"
        yield f"column {column!r} has {{}}, which {reason}", name


def _is_kept(value: Any) -> bool:
    """Whether a value is a picture as ``datasets`` keeps it."""
    return isinstance(value, Mapping) and bool(value.get("bytes") or value.get("path"))


def undecodable(image: ImageFile | ImageBytes) -> str | None:
    """Return why a picture cannot be decoded, as far as its beginning tells; None if it can."""
    source = image.path if isinstance(image, ImageFile) else BytesIO(image.data)
    try:
        with Pillow.open(source) as picture:
            reason = without_white(picture)
    except FileNotFoundError:
        return "is not there"
    except Exception as error:  # damaged pictures fail in every way there is
        reason = _reason(error)
    return None if reason is None else f"is no picture that can be read: {reason}"


def _reason(error: Exception) -> str:
    # Pillow's first words name the source once more.
    return "its format is unknown" if isinstance(error, UnidentifiedImageError) else str(error)
