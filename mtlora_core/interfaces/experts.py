"""The low-rank factors of a site: what experts see, what they come to, and experts."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..context import TaskContext
from .routing import Routing
from .task_aware import TaskAware


@dataclass(frozen=True)
class SiteInput:
    """What an adapter sees at its site."""

    hidden: Tensor
    """``[b, t, d]``: the input of the module that the site reads, without adapter dropout; in the
    adapter's dtype, or under autocast in the backbone's."""
    base_output: Tensor
    """``[b, t, o]``: what the frozen module gave, and the update is added to."""
    base_weight: Tensor | None
    """``[o, d]``: a view of a projection's frozen weight; None at a block."""
    context: TaskContext


@dataclass(frozen=True)
class Factors:
    """The matrix of an update that does not depend on its input."""

    up: Tensor
    """``[o, r]``, scaled."""
    down: Tensor
    """``[r, d]``."""
    magnitude: Tensor | None = None
    """``[o]``, the norms that the rows of the sum are scaled to; None: they stay as they are."""

    def merged(self, weight: Tensor) -> Tensor:
        """Return a projection's weight ``[o, d]`` with the update in it, in its own dtype."""
        total = weight + (self.up @ self.down).to(weight.dtype)
        if self.magnitude is None:
            return total
        norms = torch.linalg.vector_norm(total, dim=1)
        # A row of zeros has no direction and stays as it is.
        scale = torch.where(norms > 0, self.magnitude.to(total.dtype) / norms, 1.0)
        return total * scale[:, None]


class Experts(TaskAware):
    """The low-rank factors of one site."""

    count: int
    """``e``, how many experts a router weighs."""

    @abstractmethod
    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``, exactly 0 for freshly made experts.

        A token's update depends on that token alone, with what is its own: its weights, its row's
        task, its base output. So padding changes nothing, nothing looks ahead on a causal model,
        and what is written a token at a time is what was learnt.

        ``routing`` is None where the recipe has no router. The dtype is the experts' own affair:
        the model casts the update to that of the output it is added to.
        """

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the update as a matrix, which experts that declare ``mergeable`` can.

        In eval mode it is what :meth:`forward` adds, for every input.

        Args:
            weights: ``[e]``, the router's, which depend on no input; None without a router.
            task: Whose update, an index; None where neither experts nor router ask for it.
            base_weight: ``[o, d]``, the projection's frozen weight.
        """
        raise NotImplementedError(f"{type(self).__name__} declares mergeable without factors")

    @property
    @abstractmethod
    def up_factors(self) -> Tensor:
        """The up-projections B as ``[o, e, r]``, in the graph, as penalties read them."""
