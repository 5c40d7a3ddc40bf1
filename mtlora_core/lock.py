"""What a run was made with: versions, device, seeds, and hashes of data and plugin files."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from .changes import changes
from .resolve import Plan
from .tasks import TaskData

LIBRARIES = (
    "accelerate",
    "numpy",
    "pillow",
    "safetensors",
    "scikit-learn",
    "timm",
    "tokenizers",
    "torchvision",
    "transformers",
)
"""Besides torch, the libraries whose version can change a number, where they are installed."""


def make_lock(plan: Plan, data: Sequence[TaskData], device: torch.device) -> dict[str, Any]:
    """Return the content of ``lock.json``: plain data that changes with one byte of its sources."""
    return {
        "mtlora": {"version": _version("mtlora"), "files": hash_package("mtlora_core")},
        "plugins": dict(sorted(_plugins(plan).items())),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "libraries": {name: v for name in LIBRARIES if (v := _version(name)) is not None},
        "device": {"type": device.type, "name": _device_name(device)},
        "seeds": {"recipe": plan.recipe.seed},
        "data": {each.task.name: each.fingerprint() for each in data},
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for every entry that is not the same in two locks."""
    return [f"{key}: was {old}, is {new}" for key, old, new in changes(before, now)]


def other_versions(plan: Plan, lock: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for every plugin of a plan whose version is not that of a run's lock."""
    versions = lock.get("plugins", {})
    return tuple(
        dict.fromkeys(
            f"{bound.package} is version {bound.version}, the run was made with {old['version']}"
            for _, bound in plan.parts()
            if (old := versions.get(bound.package)) and old["version"] != bound.version
        )
    )


def hash_package(package: str) -> str | None:
    """Return a SHA-256 over the files of an importable package, or None for one without files."""
    try:
        spec = find_spec(package)
    except ValueError:  # it was made rather than imported, as a notebook's or a script's __main__
        return None
    if spec is None or not spec.submodule_search_locations:
        return None if spec is None or spec.origin is None else _hash_files([Path(spec.origin)])
    roots = [Path(root) for root in spec.submodule_search_locations]
    return _hash_files(
        [p for root in roots for p in sorted(root.rglob("*")) if "__pycache__" not in p.parts]
    )


def _hash_files(paths: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        if path.is_file():
            total.update(path.name.encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def _plugins(plan: Plan) -> dict[str, dict[str, str | None]]:
    found = {}
    for _, bound in plan.parts():
        package = bound.component.build.partition(":")[0].partition(".")[0]
        found[bound.package] = {"version": bound.version, "files": hash_package(package)}
    return found


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
