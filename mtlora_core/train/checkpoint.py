"""A session in one file, so that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from .. import tensors as tensors_file
from .memory import memory, remember
from .session import Progress, Session

NAME = "state.safetensors"


def save(session: Session, folder: Path, extra: dict[str, int]) -> None:
    """Write a session to ``folder``; the last good one stays until the new one is whole.

    Args:
        session: Between two records.
        folder: Made where it is missing.
        extra: Numbers of the caller's, returned by :func:`restore`.

    Raises:
        TrainingError: the system refused to write.
    """
    state = session.model.trained_state()
    tensors = {f"model.{name}": value for name, value in state.items()}
    tensors |= {f"best.{name}": value for name, value in (session.best or {}).items()}
    tensors |= _optimizer_state(session)
    remembered = memory(session.model.adapters)
    tensors |= {f"regularizer.{name}": value for name, value in remembered.items()}
    header = {
        "progress": json.dumps(asdict(session.progress)),
        "scaler": json.dumps(session.scaler.state_dict()),
        "extra": json.dumps(extra),
    }
    folder.mkdir(parents=True, exist_ok=True)
    tensors_file.save(folder / NAME, tensors, header)


def restore(session: Session, folder: Path) -> dict[str, int]:
    """Bring a session to where the checkpoint in ``folder`` was written; return its ``extra``.

    Raises:
        RunFolderError: the checkpoint is missing or damaged.
        CompositionError: it is another model's.
    """
    tensors, header = tensors_file.read(folder / NAME)
    session.model.load_trained_state(_under("model.", tensors))
    session.best = _under("best.", tensors) or None
    _load_optimizer(session, _under("optimizer.", tensors))
    remember(session.model.adapters, _under("regularizer.", tensors))
    session.progress = Progress(**json.loads(header["progress"]))
    session.scaler.load_state_dict(json.loads(header["scaler"]))
    extra: dict[str, int] = json.loads(header["extra"])
    return extra


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found = tensors.items()
    return {name.removeprefix(prefix): v for name, v in found if name.startswith(prefix)}


def _optimizer_state(session: Session) -> dict[str, Tensor]:
    """Return AdamW's tensors by parameter and key; a parameter that never moved has none."""
    state = session.optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, values in state.items()
        for key, value in values.items()
    }


def _load_optimizer(session: Session, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    groups = session.optimizer.state_dict()["param_groups"]
    session.optimizer.load_state_dict({"state": state, "param_groups": groups})
