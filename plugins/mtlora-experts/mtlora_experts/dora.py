"""A low-rank update of the direction of each weight row, and a learned magnitude."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mtlora_core.interfaces import Experts, Factors, Routing, SiteInput
from mtlora_core.sites import Site

from .factors import fresh_uniform, fresh_up, low_rank
from .options import DoraOptions


class Dora(Experts):
    r"""Weight-decomposed LoRA: the projection's weight becomes ``m / ‖V‖ · V``, row by row.

    Implements Eq. 5 of Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation",
    https://arxiv.org/abs/2402.09353, with V = W + alpha / r · B A, norms over a row (the weights
    of one output) as in the released code, and ‖V‖ held constant in backward as in section 4.3.
    With dropout, as in that code::

        update = (m / ‖V‖ - 1) ⊙ W drop(x) + m / ‖V‖ ⊙ alpha / r · B A drop(x)

    The magnitude m is kept as its difference from the row norms of W, 0 at first, so that the
    experts are made without the backbone's weights; its gradient is that of m, and weight decay
    pulls it to the norm of W, not to 0. V is never formed: its row norms come from W Aᵀ and
    A Aᵀ. The update needs W drop(x), a second product with the frozen weight. The parameters are
    float32 whatever the backbone's dtype; the update has their dtype, or autocast's.
    """

    def __init__(self, options: DoraOptions, site: Site, tasks: Sequence[str]) -> None:
        super().__init__()
        self.count = 1
        self.scale = options.alpha / options.rank
        self.dropout = options.dropout
        self.down = fresh_uniform(options.rank, site.d)  # [r, d]
        self.up = fresh_up(site.o, options.rank)  # [o, r]
        self.magnitude_change = fresh_up(site.o)  # [o]

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``; there is one expert, so routing changes nothing."""
        weight = site.base_weight
        assert weight is not None, "resolve lets no block come here"
        hidden = functional.dropout(site.hidden, self.dropout, self.training)
        base = functional.linear(hidden.to(weight.dtype), weight)
        low_rank_update = functional.linear(low_rank(hidden, self.down, self.scale, 0.0), self.up)
        norms, adapted = self._row_norms(weight)
        ratio = (norms + self.magnitude_change) / adapted  # [o]
        return (ratio - 1) * base + ratio * low_rank_update

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return B, the scaled A, and the magnitude."""
        assert base_weight is not None, "resolve lets no block come here"
        norms, _ = self._row_norms(base_weight)
        return Factors(self.up, self.scale * self.down, norms + self.magnitude_change)

    @property
    def up_factors(self) -> Tensor:
        """B as ``[o, 1, r]``."""
        return self.up[:, None, :]

    @torch.no_grad()
    def _row_norms(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the norms of the rows of W and of V = W + scale · B A, each ``[o]``.

        A squared norm of V is that of W, plus ``2 · scale · (W Aᵀ) · B`` and
        ``scale² · B (A Aᵀ) · B``, row by row; while B is 0 the two are bit for bit the same.
        """
        with torch.autocast(weight.device.type, enabled=False):
            squared = torch.linalg.vector_norm(weight, dim=1, dtype=self.up.dtype).square()
            crossed = functional.linear(weight, self.down.to(weight.dtype)).to(self.up.dtype)
            gram = self.down @ self.down.T  # [r, r]
            change = (2 * self.scale * crossed + self.scale**2 * self.up @ gram) * self.up
            adapted = squared + change.sum(1)
        # A row of zeros has no direction and stays as it is, instead of 0 / 0.
        return squared.sqrt(), adapted.clamp(min=torch.finfo(adapted.dtype).tiny).sqrt()
