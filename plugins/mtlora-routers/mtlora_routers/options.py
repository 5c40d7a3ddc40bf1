"""Options of the routers; light, so that a recipe is checked without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import PositiveFloat, PositiveInt

from mtlora_core.options import Options
from mtlora_core.sites import BackboneShape, Site


class UniformOptions(Options):
    """The ``uniform`` router has no options."""


class TaskOptions(Options):
    """Options of the ``task`` router."""

    temperature: PositiveFloat = 0.1
    """Divides the logits; lower gives each task a clearer favourite. MTL-LoRA's released scripts
    take 0.1 for commonsense reasoning and 0.8 for images with text."""


class TaskEmbeddingOptions(Options):
    """Options of the ``task-embedding`` router."""

    width: PositiveInt = 64
    """Width of a task's embedding; 64 in the script of MTL-LoRA's released code that MOELoRA was
    run with."""


class TokenOptions(Options):
    """The ``token`` router has no options."""


class FineGrainedOptions(Options):
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


def nearest_divisors(width: int, groups: int) -> list[int]:
    """Return the divisors of ``width`` next below and next above ``groups``, where there are."""
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    below = [n for n in divisors if n < groups][-1:]
    return below + [n for n in divisors if n > groups][:1]
