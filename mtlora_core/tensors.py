"""Tensors with a header in one safetensors file that knows whether it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .errors import RunFolderError
from .files import write

DIGEST = "sha256"


def save(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write tensors and a header, with a digest of both, in place of what was there.

    Raises:
        TrainingError: the system refused to write; what was there is untouched.
    """
    packed = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write(path, to_bytes(packed, {**header, DIGEST: digest(packed, header)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the header of a file that :func:`save` wrote.

    Raises:
        RunFolderError: it is missing, truncated, damaged, or not one of ours.
    """
    if not path.is_file():
        raise RunFolderError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise RunFolderError(f"{path}: is truncated or damaged: {error}") from error
    if DIGEST not in header:
        raise RunFolderError(f"{path}: was not written by mtlora: its header has no digest")
    if header.pop(DIGEST) != digest(tensors, header):
        raise RunFolderError(f"{path}: is damaged: its content is not what its digest says")
    return tensors, header


def digest(tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> str:
    """Return a SHA-256 over names, types, shapes and bytes of tensors, and a header."""
    total = hashlib.sha256(repr(sorted((header or {}).items())).encode())
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
