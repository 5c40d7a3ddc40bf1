"""Products of up-projections, r × r, on which every orthogonality penalty stands.

With a shared A, ``Δ_iᵀ Δ_j = Aᵀ B_iᵀ B_j A``: two experts' updates are at right angles where
``B_iᵀ B_j`` is 0. In float32 or wider, outside autocast: bfloat16 has 3 digits, and squares
would leave one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def products(up: Tensor) -> Tensor:
    """Return every ``B_iᵀ B_j`` as ``[e, e, r, r]``, from one GEMM.

    Args:
        up: ``[o, e, r]``.
    """
    count, rank = up.shape[1:]
    flat = up.to(torch.promote_types(up.dtype, torch.float32)).flatten(1)  # [o, e * r]
    with torch.autocast(up.device.type, enabled=False):
        gram = flat.T @ flat
    return gram.view(count, rank, count, rank).transpose(1, 2)


def own(pairs: Tensor) -> Tensor:
    """Return the experts' own products ``B_iᵀ B_i`` as ``[e, r, r]``, of ``[e, e, r, r]``."""
    return pairs.diagonal(dim1=0, dim2=1).movedim(-1, 0)


def spectrum(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the singular values of every B, ascending, and its right singular vectors.

    No gradient: that of eigenvectors has poles where singular values meet, as all do at B = 0.

    Args:
        gram: ``[e, r, r]``, every ``BᵀB``.

    Returns:
        ``[e, r]``, and ``[e, r, r]`` with a vector in each column.
    """
    # What is not finite would make eigh raise; it is in the penalty all the same, through the
    # products, for the training loop to report.
    finite = gram.detach().nan_to_num(posinf=0, neginf=0)
    # Before pytorch/pytorch#151874 was closed in 2026, MPS had no eigh; the matrices are tiny.
    solver = "cpu" if gram.device.type == "mps" else gram.device
    squares, vectors = torch.linalg.eigh(finite.to(solver))
    return squares.clamp(min=0).sqrt().to(gram), vectors.to(gram)


def between_experts(pairs: Tensor) -> Tensor:
    """Return ``Σ_{i<j} ‖pairs_ij‖²``, of ``[e, e, r, r]``; 0 for one expert."""
    return pairs.square().sum((-2, -1)).triu(1).sum()
