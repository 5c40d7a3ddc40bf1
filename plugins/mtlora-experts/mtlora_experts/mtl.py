"""One shared down-projection, a transform for each task, many up-projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mtlora_core.interfaces import Factors, SiteInput
from mtlora_core.lowrank import mixed
from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up
from .mixture import Mixture
from .options import MtlOptions


class Mtl(Mixture):
    """Shared A, Λ a task, many B: ``update = alpha / r · Σ_e w_e B_e Λ_t A drop(x)``.

    Implements the update of Yang et al., "MTL-LoRA: Low-Rank Adaptation for Multi-Task Learning",
    https://arxiv.org/abs/2410.09437; Λ_t starts as the identity. In the paper the weights are each
    task's own; here they may be of any unit, since Λ_t acts on the low-rank side, before mixing.
    Whatever the router, the task of each row must be given. The released code mixes B for every
    row; here it is mixed once for each task.
    """

    task_indexed: ClassVar[frozenset[str]] = frozenset({"transform"})

    def __init__(self, options: MtlOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__(
            down=fresh_uniform(options.rank, site.d),
            up=fresh_up(site.o, options.count, options.rank),
            scale=options.alpha / options.rank,
            dropout=options.dropout,
        )
        self.transform = _identities(len(tasks), options)  # [T, r, r] or [T, r]

    def low(self, site: SiteInput) -> Tensor:
        """Return ``scale · Λ_t A drop(x)``, ``[b, t, r]``; needs the task of each row."""
        low = super().low(site)
        own = self.transform.to(low.dtype)[site.context.task_ids_for(site.hidden)]
        return low * own[:, None] if own.dim() == 2 else torch.bmm(low, own.mT)

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the mixed B and the task's ``Λ A``, scaled."""
        assert weights is not None, "a router weighs these experts"
        assert task is not None, "these experts ask for the task"
        own = self.transform[task]
        transformed = own @ self.down if own.dim() == 2 else own[:, None] * self.down
        return Factors(mixed(self.up, weights), self.scale * transformed)


def _identities(tasks: int, options: MtlOptions) -> nn.Parameter:
    diagonal = torch.ones(tasks, options.rank)
    return nn.Parameter(diagonal if options.transform == "diagonal" else torch.diag_embed(diagonal))
