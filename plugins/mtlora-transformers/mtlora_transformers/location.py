"""Where a model's files are: a local folder, a folder inside an installed package, or the hub."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mtlora_core.errors import CompositionError
from mtlora_core.options import located

from .metadata import gguf_config
from .quiet import quiet_hub

PACKAGE = "package:"
"""Starts the name of a folder inside an installed Python package."""


def with_folder(value: Any) -> Any:
    """Return a local model's folder as an absolute path; other names as they are.

    A name is a folder when it looks like a path (``./model``, ``~/model``) or when the folder
    exists beside the recipe.
    """
    if not isinstance(value, str) or not value or value.startswith(PACKAGE):
        return value
    folder: Path = located(value)
    is_path = value.startswith((".", "~")) or Path(value).is_absolute()
    return str(folder) if is_path or folder.is_dir() else str(value)


def folder_of(model: str) -> Path | None:
    """Return the folder that holds a model's files, or None for a model of the hub.

    Raises:
        CompositionError: the package is not installed, or there is no such folder.
    """
    if model.startswith(PACKAGE):
        return _existing(_inside_package(model))
    return _existing(Path(model)) if Path(model).is_absolute() else None


def read_config(model: str, revision: str | None, gguf_file: str | None = None) -> dict[str, Any]:
    """Return what a model's ``config.json`` says, or its GGUF file where one is named.

    Raises:
        CompositionError: it cannot be found or read; says where it looked.
    """
    folder = folder_of(model)
    if gguf_file is not None:
        return gguf_config(_gguf(folder, model, revision, gguf_file))
    path = _from_hub(model, revision) if folder is None else folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CompositionError(
            f"{folder} holds no config.json; a model's folder holds config.json, "
            "model.safetensors and the files of its tokenizer"
        ) from None
    except (OSError, ValueError) as error:
        raise CompositionError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise CompositionError(f"{path} must be a JSON object, not a {type(config).__name__}")
    return config


def _gguf(folder: Path | None, model: str, revision: str | None, file: str) -> Path:
    if folder is None:
        return _from_hub(model, revision, file)
    if not (folder / file).is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("*.gguf"))) or "none"
        raise CompositionError(f"{folder} holds no {file}; the GGUF files in it: {there}")
    return folder / file


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise CompositionError(f"there is no folder {folder}")
    return folder


def _inside_package(model: str) -> Path:
    package, _, rest = model.removeprefix(PACKAGE).partition("/")
    if not package.isidentifier():
        # find_spec imports the parents of a dotted name, and a recipe must not run code.
        raise CompositionError(
            f"{package!r} is no top-level package; write {PACKAGE}name/folder/inside/it"
        )
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CompositionError(
            f"the Python package {package!r} is not installed here; "
            f"install the distribution that holds it, such as {package.replace('_', '-')}"
        )
    return Path(next(iter(spec.submodule_search_locations)), rest)


def _from_hub(model: str, revision: str | None, file: str = "config.json") -> Path:
    # Imported here: a local model needs none of it, and it is slow to import.
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = try_to_load_from_cache(model, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        with quiet_hub():
            return Path(hf_hub_download(model, file, revision=revision))
    except Exception as error:  # validation, network and server each raise their own kinds
        of = f" of revision {revision!r}" if revision else ""
        offline = constants.HF_HUB_OFFLINE and isinstance(error, LocalEntryNotFoundError)
        reason = "HF_HUB_OFFLINE is set" if offline else _first_line(error)
        raise CompositionError(
            f"{file}{of} is neither in the cache {constants.HF_HUB_CACHE} nor to be had "
            f"from {constants.ENDPOINT} ({reason}), and there is no such folder beside the recipe"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
