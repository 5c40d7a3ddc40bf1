"""Options of the experts; light, so that a recipe is checked without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from mtlora_core.options import MixedOptions, Options
from mtlora_core.sites import BackboneShape, Site

Probability = Annotated[float, Field(ge=0, lt=1)]
"""A probability of dropping; 1 would drop everything."""


class LoraOptions(Options):
    """Options of the ``lora`` experts."""

    rank: PositiveInt = 8
    """Width r of the low-rank side."""
    alpha: PositiveFloat = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Probability = 0.0
    """Probability of dropping a coordinate of what the down-projection reads."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield sites that are narrower than the rank."""
        return rank_problems(self.rank, sites)


class HydraOptions(MixedOptions):
    """Options of the ``hydra`` experts.

    The defaults are those of HydraLoRA's released code; mtLoRA's are count 16, rank 16, alpha 64
    and the same dropout.
    """

    count: PositiveInt = 4
    """Number e of up-projections."""
    rank: PositiveInt = 4
    """Width r of the low-rank side, shared by all experts."""
    alpha: PositiveFloat = 32.0
    """The update is scaled by alpha / rank."""
    dropout: Probability = 0.05
    """Probability of dropping a coordinate of what the down-projection reads; the router's input
    is not dropped."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield sites that are narrower than the rank."""
        return rank_problems(self.rank, sites)


class PerTaskOptions(LoraOptions):
    """Options of the ``per-task`` experts: those of ``lora``, the same for every task."""


class DoraOptions(LoraOptions):
    """Options of the ``dora`` experts: those of ``lora``."""


class MultiLoraOptions(LoraOptions):
    """Options of the ``multilora`` experts; ``rank`` is that of each module.

    The defaults are those of the script in MTL-LoRA's released code that MultiLoRA was run with,
    where it sets them.
    """

    count: PositiveInt = 3
    """Number of modules, pairs of factors that are added up."""


class MoeOptions(MixedOptions):
    """Options of the ``moe`` experts.

    ``count`` is that of the script in MTL-LoRA's released code that MOELoRA was run with.
    """

    count: PositiveInt = 8
    """Number e of experts, pairs of factors; divides the rank."""
    rank: PositiveInt = 16
    """Width r of the low-rank side of all experts together; each has rank / count of it."""
    alpha: PositiveFloat = 32.0
    """The update is scaled by alpha / rank, however many experts share the rank."""
    dropout: Probability = 0.05
    """Probability of dropping a coordinate of what the down-projections read; the router's input
    is not dropped."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield a rank that the experts cannot share, and sites that are narrower than it."""
        if self.rank % self.count:
            below = self.rank - self.rank % self.count
            near = " or ".join(str(n) for n in (below, below + self.count) if n)
            yield "rank", f"{self.rank} cannot be split over {self.count} experts; {near} could"
        yield from rank_problems(self.rank, sites)


class MtlOptions(MixedOptions):
    """Options of the ``mtl`` experts.

    The defaults are those of MTL-LoRA's released code for commonsense reasoning.
    """

    count: PositiveInt = 3
    """Number e of up-projections."""
    rank: PositiveInt = 8
    """Width r of the low-rank side, shared by all experts."""
    alpha: PositiveFloat = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Probability = 0.05
    """Probability of dropping a coordinate of what the down-projection reads; the router's input
    is not dropped."""
    transform: Literal["full", "diagonal"] = "full"
    """What a task does to the low-rank side: a full r x r matrix, or a factor for each of the r
    coordinates."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield sites that are narrower than the rank."""
        return rank_problems(self.rank, sites)


class RankOneOptions(MixedOptions):
    """Options of the ``rank-one`` experts.

    The defaults are those of SMoRA's paper.
    """

    count: PositiveInt = 64
    """Number e of experts, each of rank one; a LoRA of this rank has as many parameters. May be
    over a site's width where the router keeps few of them."""
    alpha: PositiveFloat = 16.0
    """Factor of the weighted sum. Weights that sum to one over k kept experts make it the paper's
    alpha / k, even weights make it LoRA's alpha / rank."""
    dropout: Probability = 0.05
    """Probability of dropping a coordinate of what the down-projections read; the router's input
    is not dropped."""


def rank_problems(rank: int, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
    """Yield a problem for every pair of widths that ``rank`` is over, with a site of it."""
    narrow: dict[tuple[int, int], list[str]] = {}
    for site in sites:
        if rank > min(site.d, site.o):
            narrow.setdefault((site.d, site.o), []).append(site.name)
    for (d, o), names in narrow.items():
        more = f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""
        yield (
            "rank",
            f"{rank} is over the width of site {names[0]}{more}, which maps {d} to {o}; "
            f"at most {min(d, o)} is of low rank there",
        )
