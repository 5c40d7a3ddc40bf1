"""Options of the routers; light, so that a recipe is checked without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mtlora_core.options import RouterOptions
from mtlora_core.sites import BackboneShape, Site


class UniformOptions(RouterOptions):
    """The ``uniform`` router has no options."""


class TaskOptions(RouterOptions):
    """Options of the ``task`` router."""

    temperature: PositiveFloat = 0.1
    """Divides the logits; lower gives each task a clearer favourite. MTL-LoRA's released scripts
    take 0.1 for commonsense reasoning and 0.8 for images with text."""


class TaskEmbeddingOptions(RouterOptions):
    """Options of the ``task-embedding`` router."""

    width: PositiveInt = 64
    """Width of a task's embedding; 64 in the script of MTL-LoRA's released code that MOELoRA was
    run with."""


class TokenOptions(RouterOptions):
    """The ``token`` router has no options."""


class FineGrainedOptions(RouterOptions):
    """Options of the ``fine-grained`` router."""

    groups: PositiveInt = 2
    """Number g of groups of output dimensions; divides every site's width. 1 is one weight an
    expert, the width itself one weight a dimension. The option of mtLoRA's released code,
    ``routing_group_size``, is the width over this."""

    def problems(self, shape: BackboneShape, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
        """Yield the widths that the groups do not divide, with a site of each."""
        undivided = {site.o: site for site in reversed(sites) if site.o % self.groups}
        for o, site in sorted(undivided.items()):
            nearest = " or ".join(map(str, nearest_divisors(o, self.groups)))
            yield (
                "groups",
                f"{self.groups} groups do not divide the {o} output dimensions of site "
                f"{site.name}; {nearest} would",
            )


class TopKOptions(RouterOptions):
    """Options of the ``top-k`` router."""

    k: Annotated[int, Field(ge=2)] = 2
    """Experts that a token keeps, at least 2: a softmax over a single one is always 1 and would
    teach the router nothing."""

    def count_problems(self, experts: int) -> Iterator[tuple[str, str]]:
        """Yield a k that is over the number of experts."""
        return k_problems(self.k, experts)


class RankTopKOptions(RouterOptions):
    """Options of the ``rank-top-k`` router.

    The defaults are those of SMoRA's paper and released code.
    """

    k: PositiveInt = 8
    """Experts that a token keeps."""
    partition: PositiveInt = 1
    """Number of neighbouring experts that share one score; divides their number. They are kept
    together, but for the bias."""
    rate: NonNegativeFloat = 1e-5
    """Change of an expert's bias at each step: up where fewer tokens than the mean keep it, down
    where more do."""
    bias_in_weights: bool = True
    """Whether the bias enters the weights too, as in SMoRA's released code, or only decides which
    experts are kept, as in loss-free balancing elsewhere (arXiv:2408.15664)."""

    def count_problems(self, experts: int) -> Iterator[tuple[str, str]]:
        """Yield a k that is over the number of experts, and a partition that does not divide it."""
        yield from k_problems(self.k, experts)
        if experts % self.partition:
            nearest = " or ".join(map(str, nearest_divisors(experts, self.partition)))
            yield (
                "partition",
                f"{self.partition} does not divide {experts} experts; {nearest} would",
            )


def k_problems(k: int, experts: int) -> Iterator[tuple[str, str]]:
    """Yield a ``k`` that is over the number of experts."""
    if k > experts:
        yield "k", f"keeps {k} experts of {experts}; at most {experts}"


def nearest_divisors(width: int, groups: int) -> list[int]:
    """Return the divisors of ``width`` next below and next above ``groups``, where there are."""
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    below = [n for n in divisors if n < groups][-1:]
    return below + [n for n in divisors if n > groups][:1]
