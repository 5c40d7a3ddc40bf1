"""Keeps what was taken from a library, so that it is parsed once."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from contextlib import suppress
from pathlib import Path

from mtlora_core.errors import MtloraError
from mtlora_core.files import write

from .corpus import Corpus
from .duplicates import without_duplicates
from .extract import VERSION, extract
from .sources import sources


def cache_folder() -> Path:
    """Return ``MTLORA_CACHE``, or ``mtlora`` in the user's folder for caches."""
    if own := os.environ.get("MTLORA_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtlora"


def cached_corpus(root: Path, folder: Path) -> Corpus:
    """Return the distinct texts of the library at ``root``, parsed unless ``folder`` has them.

    A file that is damaged is made anew. A folder that cannot be written costs only the time to
    parse again.

    Raises:
        DataError: the library has no sources.
    """
    path = folder / f"docstrings-{_key(root)}.json"
    corpus = _read(path)
    if corpus is None:
        corpus = without_duplicates(extract(sources(root)))
        _write(path, corpus)
    return corpus


def _key(root: Path) -> str:
    text = json.dumps([platform.python_version(), str(root), VERSION])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> Corpus | None:
    try:
        digest, _, body = path.read_text("utf-8").partition("\n")
        if digest != _digest(body):
            return None
        return Corpus.from_json(json.loads(body))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, corpus: Corpus) -> None:
    body = json.dumps(corpus.to_json())
    with suppress(OSError, MtloraError):  # nothing is lost without a cache but time
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, f"{_digest(body)}\n{body}")


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
