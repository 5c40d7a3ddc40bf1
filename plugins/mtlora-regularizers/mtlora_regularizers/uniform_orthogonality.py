"""The up-projections of every two experts at right angles."""

from __future__ import annotations

from torch import Tensor

from mtlora_core.interfaces import Experts, Routing

from .gram import between_experts, products
from .options import UniformOrthogonalityOptions


class UniformOrthogonality:
    """``Σ_{i<j} ‖B_iᵀ B_j‖²``, every direction alike.

    What mtLoRA, https://arxiv.org/abs/2603.01526, compares its spectral-aware penalty with:
    its Eq. 2 with weights of 1. The paper writes no equation for it.
    """

    def __init__(self, options: UniformOrthogonalityOptions) -> None:
        """Take the options; the weight is applied by the model."""

    def __call__(self, experts: Experts, routing: Routing | None) -> Tensor:
        """Return the penalty of one site's experts; routing does not enter."""
        return between_experts(products(experts.up_factors))
