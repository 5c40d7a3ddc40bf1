"""Pictures in the arrays of an .npz file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlora_core.errors import DataError
from mtlora_core.inputs import Pixels
from mtlora_core.tasks import SPLITS, Split

from .row import Row

Array = NDArray[Any]


@dataclass(frozen=True)
class Arrays:
    """What an .npz file holds."""

    path: Path
    images: Array
    """``[n, h, w]`` or ``[n, h, w, c]`` of bytes, ``c`` one or three."""
    labels: Array
    """``[n]``, whole numbers or texts; numbers of any kind for regression."""
    split: Array | None
    """``[n]``: 0 is for training, 1 for validation, 2 for test. None where it says nothing."""

    def rows(self, split: Split) -> list[Row]:
        """Return the rows of a split; all rows where the file tells none apart."""
        chosen = np.arange(len(self.images))
        if self.split is not None:
            chosen = chosen[self.split == SPLITS.index(split)]
        labels = self.labels.tolist()
        return [
            Row(self.path, i, None, _pixels(self.images[i]), labels[i]) for i in chosen.tolist()
        ]


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of a file; nothing in it is unpickled.

    Raises:
        DataError: it is no such file, or its arrays are not as they should be: each with what.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            found: Mapping[str, Array] = {name: file[name] for name in file.files}
    except Exception as error:  # damaged archives, and single arrays, fail in every way there is
        raise DataError(f"{path}: is no .npz file that can be read: {error}") from error
    if problems := [*_problems(found)]:
        raise DataError(f"{path}: {problem}" for problem in problems)
    return Arrays(path, found["images"], found["labels"], found.get("split"))


def _problems(found: Mapping[str, Array]) -> Iterator[str]:
    lacking = [name for name in ("images", "labels") if name not in found]
    for name in lacking:
        yield f"has no array {name!r}; its arrays are {', '.join(found) or 'none'}"
    if not lacking:
        images, labels, split = found["images"], found["labels"], found.get("split")
        yield from _image_problems(images)
        yield from _label_problems(labels, len(images) if images.ndim else 0)
        if split is not None:
            yield from _split_problems(split, len(images) if images.ndim else 0)


def _image_problems(images: Array) -> Iterator[str]:
    grey = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 1)
    colour = images.ndim == 4 and images.shape[3] == 3
    if images.dtype != np.uint8 or not (grey or colour):
        yield (
            f"images are {images.dtype} of the shape {[*images.shape]}; they should be uint8, "
            "N x H x W where they are grey and N x H x W x 3 in colour"
        )
    elif not images.size:
        yield "has no rows"


def _label_problems(labels: Array, count: int) -> Iterator[str]:
    if labels.shape != (count,):
        yield f"labels have the shape {[*labels.shape]}; they should be {count}, one for each image"
    if labels.dtype.kind not in "biufU":
        yield f"labels are {labels.dtype}; they should be numbers or texts"


def _split_problems(split: Array, count: int) -> Iterator[str]:
    if split.shape != (count,):
        yield f"split has the shape {[*split.shape]}; it should be {count}, one for each image"
    if split.dtype.kind not in "iu" or not np.isin(split, range(len(SPLITS))).all():
        yield "split should hold 0 for training, 1 for validation and 2 for test, and nothing else"


def _pixels(image: Array) -> Pixels:
    height, width = image.shape[:2]
    return Pixels(
        image.tobytes(), height, width, 3 if image.ndim == 3 and image.shape[2] == 3 else 1
    )
