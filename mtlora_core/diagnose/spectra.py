"""Singular values of experts, and how alike their directions are, band by band.

In float64, from the singular value decomposition of every B, ``[o, r]``: the small singular
values of float32 Gram matrices would be rounding (an error of 0.86 at a condition of 1e4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..interfaces import Experts
from .usage import Usage

BANDS = (0.0, 0.2, 0.5, 1.0)
"""Where the bands of singular values end, as shares of the rank, from the largest: those of
mtLoRA, https://arxiv.org/abs/2603.01526, Figure 1."""


@dataclass(frozen=True)
class Spectrum:
    """The decomposition of some matrices ``[o, r]`` of one site."""

    values: Tensor
    """``[n, k]``, singular values in descending order, ``k = min(o, r)``."""
    vectors: Tensor
    """``[n, o, k]``, left singular vectors."""


@dataclass(frozen=True)
class Alignment:
    """How alike matrices are in one band of their singular values."""

    first: int
    """The band's first index, from 1."""
    last: int
    alignment: float
    """Eq. 7, the mean over sites."""
    share: float
    """Of the alignment of all bands."""
    cosine: float
    """The mean ``|cos|`` without weights, over pairs, indices and sites."""
    energy: float
    """The band's share of the sum of singular values."""


def spectrum(matrices: Tensor) -> Spectrum:
    """Return the decomposition of ``[n, o, r]``."""
    vectors, values, _ = torch.linalg.svd(matrices.detach().double().cpu(), full_matrices=False)
    return Spectrum(values, vectors)


def experts_of(experts: Experts) -> Tensor:
    """Return every expert's B as ``[e, o, r]``."""
    return experts.up_factors.detach().double().cpu().movedim(1, 0)


def tasks_of(experts: Experts, usage: Usage) -> Tensor:
    """Return every task's B as its mean weights mix the experts', ``[T, o, r]``.

    Output coordinate ``c`` of ``o`` takes the weights of its group, ``c * g // o``.
    """
    up, weights = experts_of(experts), usage.weights
    groups, width = weights.shape[1], up.shape[1]
    own = weights[:, torch.arange(width) * groups // width]  # [T, o, e]
    return torch.einsum("toe,eor->tor", own, up)


def alignments(sites: Sequence[Spectrum]) -> list[Alignment]:
    """Return the alignment in each band, over the sites; none for fewer than two matrices.

    ``𝒜(D) = 1 / (|D| n (n - 1)) Σ_{k∈D} Σ_{i≠j} σ_{i,k} σ_{j,k} |cos(u_{i,k}, u_{j,k})|``,
    Eq. 7 of mtLoRA, https://arxiv.org/abs/2603.01526, averaged over sites. Singular vectors are
    paired by their rank, which is brittle where singular values are nearly equal.
    """
    if not sites or sites[0].values.shape[0] < 2:
        return []
    rank = min(site.values.shape[1] for site in sites)
    ends = [int(rank * share) for share in BANDS]
    bands = [range(a, b) for a, b in pairwise(ends) if a < b]
    found = [_aligned(sites, band) for band in bands]
    whole = sum(alignment for alignment, _, _ in found)
    energy = sum(own for *_, own in found)
    return [
        Alignment(
            first=band.start + 1,
            last=band.stop,
            alignment=alignment,
            share=alignment / whole if whole else 0.0,
            cosine=cosine,
            energy=own / energy if energy else 0.0,
        )
        for band, (alignment, cosine, own) in zip(bands, found, strict=True)
    ]


def _aligned(sites: Sequence[Spectrum], band: range) -> tuple[float, float, float]:
    """Return eq. 7, the mean ``|cos|`` and the sum of singular values in a band, over sites."""
    weighted, plain, energy = [], [], []
    for site in sites:
        values = site.values[:, band.start : band.stop]
        vectors = site.vectors[:, :, band.start : band.stop]
        cosines = torch.einsum("iok,jok->kij", vectors, vectors).abs()
        products = torch.einsum("ik,jk->kij", values, values)
        apart = ~torch.eye(len(values), dtype=torch.bool)
        weighted.append((products * cosines)[:, apart].mean())
        plain.append(cosines[:, apart].mean())
        energy.append(values.sum())
    return (
        float(torch.stack(weighted).mean()),
        float(torch.stack(plain).mean()),
        float(torch.stack(energy).sum()),
    )
