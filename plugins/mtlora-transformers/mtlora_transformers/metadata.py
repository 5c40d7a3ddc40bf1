"""What a GGUF file says of its model, read from its head: no weight, no vocabulary, no package.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md describes the format.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from mtlora_core.errors import CompositionError

KEYS: Mapping[str, str] = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
}
"""By the name of the file, behind the architecture's: that of ``config.json``."""

TYPES: Mapping[str, str] = {"gemma3": "gemma3_text"}
"""By a file's architecture: the model type, where it has another name."""

_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""By the number of a type: how ``struct`` writes it."""
_STRING, _ARRAY = 8, 9


def gguf_config(path: Path) -> dict[str, Any]:
    """Return what a GGUF file says of its model, in the words of ``config.json``.

    Raises:
        CompositionError: it is no GGUF file of version 2 or 3, or ends too early.
    """
    try:
        with path.open("rb") as file:
            found = _metadata(file)
    except (struct.error, ValueError, OSError, RecursionError) as error:
        raise CompositionError(f"{path} cannot be read as GGUF: {error}") from error
    kind = str(found.get("general.architecture"))
    return {
        "model_type": TYPES.get(kind, kind),
        **{name: found[f"{kind}.{key}"] for key, name in KEYS.items() if f"{kind}.{key}" in found},
    }


def _metadata(file: BufferedReader) -> dict[str, Any]:
    if file.read(4) != b"GGUF":
        raise ValueError("it does not begin with 'GGUF'")
    version, _, count = _numbers(file, "IQQ")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}; known are 2 and 3")
    found = {}
    for _ in range(count):
        key = _string(file)
        found[key] = _value(file, *_numbers(file, "I"))
    return found


def _value(file: BufferedReader, kind: int) -> Any:
    if kind in _SCALARS:
        return _numbers(file, _SCALARS[kind])[0]
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        raise ValueError(f"it has a value of the unknown type {kind}")
    _skip_array(file)
    return None


def _skip_array(file: BufferedReader) -> None:
    kind, count = _numbers(file, "IQ")
    if kind in _SCALARS:
        file.seek(count * struct.calcsize("<" + _SCALARS[kind]), 1)
        return
    for _ in range(count):
        if kind == _STRING:
            file.seek(_numbers(file, "Q")[0], 1)
        else:
            _value(file, kind)


def _string(file: BufferedReader) -> str:
    (length,) = _numbers(file, "Q")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("it ends too early")
    return text.decode()


def _numbers(file: BufferedReader, form: str) -> tuple[Any, ...]:
    size = struct.calcsize("<" + form)
    return struct.unpack("<" + form, file.read(size))
