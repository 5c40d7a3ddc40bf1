"""Loads a dataset by its name, or says why that cannot be."""

from __future__ import annotations

from collections.abc import Mapping

import datasets

from mtlora_core.errors import DataError

from ..files.read import quiet

Dataset = Mapping[str, datasets.Dataset]
"""Tables by the names of the splits."""


def load(path: str, config: str | None, revision: str | None) -> Dataset:
    """Return a dataset's splits, from the hub, a folder, or the cache of ``datasets``.

    No code of a dataset is run: ``datasets`` knows none that has any since its release 4.

    Raises:
        DataError: it cannot be had.
    """
    try:
        with quiet():
            splits: Dataset = datasets.load_dataset(path, config, revision=revision)
    except Exception as error:  # network, server and files fail in ways of their own
        name = ", ".join(part for part in (path, config, revision) if part)
        raise DataError(f"{name}: {_reason(error)}") from error
    return splits


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionError):
        cache = datasets.config.HF_DATASETS_CACHE
        if datasets.config.HF_HUB_OFFLINE:
            return (
                f"is not in the cache {cache}, and HF_HUB_OFFLINE is set; run once without it, or "
                "copy that folder from a machine that has the dataset"
            )
        return f"is not in the cache {cache}, and {datasets.config.HF_ENDPOINT} cannot be reached"
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return f"cannot be loaded: {first}"
