"""Options of the experts; light, so that a recipe is checked without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from mtlora_core.options import Options
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


class HydraOptions(Options):
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
