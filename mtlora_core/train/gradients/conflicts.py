"""The conflicts of one step, from the products of its task gradients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters import Adapters
from ...taskaxis import shared_parameters

Gramians = Mapping[nn.Parameter, Tensor]
"""The products ``[T, T]`` of every two tasks' gradients, of each parameter that a step used."""


def conflicts(
    adapters: Adapters, gramians: Gramians, tasks: Sequence[int]
) -> dict[str, Any] | None:
    """Return what a step's record says of conflicts between the tasks that are present.

    A level of detail, ``global``, each of ``layers`` and each of ``kinds`` of parameters, has the
    ``cosines`` of the pairs of ``tasks``, in the order of ``itertools.combinations``, to three
    digits, and the ``rate`` of negative ones. A cosine with a gradient of 0 is None and does not
    count. ``matrices`` has, for each pair, in which share of all parameter tensors they conflict.

    Args:
        adapters: The model's.
        gramians: Over all forwards and processes.
        tasks: The ids of the T tasks.

    Returns:
        Plain data, or None where there is no pair, or something is not finite.
    """
    if len(tasks) < 2 or not gramians:
        return None
    stacked = torch.stack([*gramians.values()]).cpu().double()  # [n, T, T]
    if not stacked.isfinite().all():
        return None
    where = places(adapters)
    layers, kinds = zip(*(where[parameter] for parameter in gramians), strict=True)
    return {
        "tasks": [adapters.context.tasks[task] for task in tasks],
        "global": _level(stacked.sum(0)),
        "layers": {name: _level(gramian) for name, gramian in _summed(layers, stacked).items()},
        "kinds": {name: _level(gramian) for name, gramian in _summed(kinds, stacked).items()},
        "matrices": _shares(stacked),
    }


def places(adapters: Adapters) -> dict[nn.Parameter, tuple[str, str]]:
    """Return the layer and the kind, such as ``experts.up``, of every parameter that tasks share.

    One that several sites share is of the first one's layer. The members of a ParameterList are
    of one kind.
    """
    found: dict[nn.Parameter, tuple[str, str]] = {}
    for adapter in adapters:
        for part, module in (("experts", adapter.experts), ("router", adapter.router)):
            if module is None:
                continue
            for name, parameter in shared_parameters(module, module.task_indexed).items():
                words = [word for word in name.split(".") if not word.isdigit()]
                found.setdefault(parameter, (str(adapter.site.layer), ".".join([part, *words])))
    return found


def cosines(gramians: Tensor) -> Tensor:
    """Return the cosines of every two gradients, ``[…, T (T - 1) / 2]``, of ``[…, T, T]``.

    NaN where a squared norm underflows.
    """
    squares = gramians.diagonal(dim1=-2, dim2=-1)
    lengths = squares.where(squares >= torch.finfo(torch.float32).tiny, torch.nan).sqrt()
    whole = gramians / lengths[..., :, None] / lengths[..., None, :]
    rows, columns = torch.ones(gramians.shape[-2:]).triu(1).nonzero().T
    return whole[..., rows, columns]


def _summed(names: Sequence[str], gramians: Tensor) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros_like(gramians[0]))
    for name, gramian in zip(names, gramians, strict=True):
        sums[name] += gramian
    return sums


def _level(gramian: Tensor) -> dict[str, Any]:
    found = cosines(gramian)
    known = found[found.isfinite()]
    rate = float((known < 0).double().mean())  # NaN where nothing is known
    return {"rate": _rounded(rate), "cosines": [_rounded(value) for value in found.tolist()]}


def _shares(gramians: Tensor) -> dict[str, Any]:
    found = cosines(gramians)  # [n, pairs]
    known, negative = found.isfinite().sum(0), (found < 0).sum(0)
    rate = float(negative.sum() / known.sum())
    return {"rate": _rounded(rate), "shares": [_rounded(v) for v in (negative / known).tolist()]}


def _rounded(value: float) -> float | None:
    # Three digits rather than three decimals, so that a small cosine keeps its sign.
    return None if value != value else float(f"{value:.3g}")
