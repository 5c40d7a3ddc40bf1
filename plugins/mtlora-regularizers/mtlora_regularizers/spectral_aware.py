"""Weak directions of every two experts at right angles, strong ones left free."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlora_core.interfaces import Experts, Routing

from .gram import between_experts, own, products, spectrum
from .options import SpectralAwareOptions


class SpectralAware:
    """``Σ_{i<j} ‖B'_iᵀ B'_j‖²`` with every singular value σ of B shrunk to ``√w(σ) σ`` in B'.

    Implements Eq. 2 and Appendix B.2 of mtLoRA, "Scalable Multi-Task Low-Rank Model Adaptation",
    https://arxiv.org/abs/2603.01526: ``w(σ) = exp(-σ / σ̄)`` with the mean σ̄ of an expert's own
    singular values, so that what tasks share in strong directions is kept. No SVD is needed,
    since ``B' = B M`` with ``M = V diag(√w) Vᵀ`` and V the eigenvectors of ``BᵀB``.

    Where we depart: the paper computes the weights once an epoch, we at every step, which costs
    one small ``eigh``. The paper writes its factor λ twice, here it is applied once. Where an
    expert is still 0, w is 1.

    The variant ``released-code`` is what the paper's code computes instead, within each expert:
    see :func:`within_experts`.
    """

    def __init__(self, options: SpectralAwareOptions) -> None:
        """Take the options; the weight is applied by the model."""
        self.penalty = within_experts if options.variant == "released-code" else across_experts

    def __call__(self, experts: Experts, routing: Routing | None) -> Tensor:
        """Return the penalty of one site's experts; routing does not enter."""
        return self.penalty(experts.up_factors)


def across_experts(up: Tensor) -> Tensor:
    """Return ``Σ_{i<j} ‖M_i B_iᵀ B_j M_j‖²``, the paper's penalty, of ``up`` ``[o, e, r]``."""
    pairs = products(up)
    with torch.autocast(up.device.type, enabled=False):
        shrinking = shrinkage(own(pairs))
        return between_experts(shrinking[:, None] @ pairs @ shrinking)


def shrinkage(gram: Tensor) -> Tensor:
    """Return every ``M = V diag(√w) Vᵀ`` as ``[e, r, r]``, of every ``BᵀB``; no gradient."""
    singular, vectors = spectrum(gram)
    roots = torch.exp(-singular / _scale(singular) / 2)  # √w, [e, r]
    return (vectors * roots[:, None, :]) @ vectors.mT


def _scale(singular: Tensor) -> Tensor:
    """Return σ̄ as ``[e, 1]``, or 1 where all are 0: then -σ / σ̄ is 0, and w is 1."""
    mean = singular.mean(-1, keepdim=True)
    return mean.masked_fill(mean == 0, 1)


def within_experts(up: Tensor) -> Tensor:
    r"""Return the penalty of mtLoRA's released code, the mean over experts of
    :math:`\sum_{ab} (w_a w_b ((B^\top B)_{ab} - c^2 \delta_{ab}))^2`.

    ``c = ‖B‖ / √r`` and ``w_k = exp(-σ_k / σ̄)`` have no gradient. It evens out and decorrelates
    the columns of each expert and has no term between experts. As in that code, the weights of
    sorted singular values meet columns, which are in no such order, so the value changes when
    columns are exchanged. That code draws at most 64 matrices and applies it once in hundreds
    of steps; we take all, at every step.

    Args:
        up: ``[o, e, r]``.
    """
    gram = own(products(up))  # [e, r, r]
    singular = spectrum(gram)[0].flip(-1)
    weights = torch.exp(-singular / (singular.mean(-1, keepdim=True) + 1e-8))
    length = singular.square().mean(-1).sqrt() + 1e-8  # ‖B‖ / √r, [e]
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    off = gram - length.square()[:, None, None] * identity
    return (weights[:, :, None] * weights[:, None, :] * off).square().sum((-2, -1)).mean()
