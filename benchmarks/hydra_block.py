"""What a hydra block adapter costs: ``python benchmarks/hydra_block.py [--widths 384 768 4096] …``.

Forward and backward of one adapter, its router included, against a loop over the experts as the
released codes of HydraLoRA and mtLoRA write it: with the product with A once before the loop, and
inside it, as they do; with ``--compiled`` also against ``torch.compile``, of the adapter and of its
algebra in one product. Also what all keep for backward, and the peak of the memory that they take
and give back beside their output and the gradients. Without dropout, so that all do the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from measuring import (
    Step,
    compare,
    kept_bytes,
    parser_of,
    passing_bytes,
    report_bytes,
)
from torch import Tensor, nn
from torch.nn import functional

from mtlora_core.adapters import Adapter
from mtlora_core.context import TaskContext
from mtlora_core.sites import Site
from mtlora_experts.hydra import Hydra
from mtlora_experts.options import HydraOptions
from mtlora_routers.fine_grained import FineGrained
from mtlora_routers.options import FineGrainedOptions

Block = Callable[[Tensor, Tensor], Tensor]
"""Of what a block reads and what it gives, returns what it gives with the update added."""


class Loop(nn.Module):
    """The same adapter, an expert at a time."""

    def __init__(self, adapter: Adapter, *, inside: bool) -> None:
        super().__init__()
        experts, router = adapter.experts, adapter.router
        assert isinstance(experts, Hydra)
        assert isinstance(router, FineGrained)
        self.scale, self.groups, self.inside = experts.scale, router.groups, inside
        self.down = nn.Parameter(experts.down.detach().clone())
        self.ups = nn.ParameterList(up.detach().clone() for up in experts.up.unbind(1))
        self.gate = nn.Parameter(router.weight.detach().clone())

    def forward(self, hidden: Tensor, output: Tensor) -> Tensor:
        """Return ``output`` with the update added."""
        logits = functional.linear(hidden, self.gate).unflatten(-1, (self.groups, -1))
        weights = torch.softmax(logits, -1)  # [b, t, g, e]
        low = None if self.inside else functional.linear(hidden, self.down) * self.scale
        for expert, up in enumerate(self.ups):
            output = output + self._weighed(hidden, low, up, weights[..., expert])
        return output

    def _weighed(self, hidden: Tensor, low: Tensor | None, up: Tensor, weights: Tensor) -> Tensor:
        if low is not None:
            return self._times(functional.linear(low, up), weights)
        made = functional.linear(functional.linear(hidden, self.down), up)
        return self._times(made, weights) * self.scale

    def _times(self, made: Tensor, weights: Tensor) -> Tensor:
        """Weigh what an expert made ``[b, t, o]``; its ``weights`` are ``[b, t, g]``."""
        if self.groups == 1:
            return weights * made
        weighed: Tensor = weights[..., None] * made.unflatten(-1, (self.groups, -1))
        return weighed.flatten(-2)


def in_one_product(adapter: Adapter, hidden: Tensor, output: Tensor) -> Tensor:
    """Do the same with a product of ``w ⊗ Ax``, written for a compiler."""
    experts, router = adapter.experts, adapter.router
    assert isinstance(experts, Hydra)
    assert isinstance(router, FineGrained)
    logits = functional.linear(hidden, router.weight).unflatten(-1, (router.groups, -1))
    weights = torch.softmax(logits, -1)[..., None]  # [b, t, g, e, 1]
    low = functional.linear(hidden, experts.down)[:, :, None, None] * experts.scale
    maps = experts.up.unflatten(0, (router.groups, -1)).flatten(2)  # [g, m, e * r]
    return output + torch.einsum("btgi,gmi->btgm", (weights * low).flatten(-2), maps).flatten(2)


def adapter_of(width: int, groups: int, options: argparse.Namespace) -> Adapter:
    """Return a block adapter as trained ones are: B is not 0."""
    site = Site("layer0_ffn", "block", 0, "in", "out", width, width)
    of_experts = HydraOptions(count=options.experts, rank=options.rank, dropout=0.0)
    experts = Hydra(of_experts, site, ())
    nn.init.normal_(experts.up, std=1e-3)
    router = FineGrained(FineGrainedOptions(groups=groups), site, options.experts, ())
    return Adapter(site, experts, router).to(options.device)


def there_and_back(
    block: Block, module: nn.Module, hidden: Tensor, output: Tensor, cotangent: Tensor
) -> Tensor:
    """Run forward and backward; return the output."""
    for tensor in (hidden, output, *module.parameters()):
        tensor.grad = None
    updated = block(hidden, output)
    updated.backward(cotangent)
    return updated


def run(width: int, groups: int, options: argparse.Namespace) -> None:
    """Compare the adapter with both loops in time and memory."""
    torch.manual_seed(0)
    adapter, context = adapter_of(width, groups, options), TaskContext()
    hidden, output, cotangent = torch.randn(
        3, options.batch, options.tokens // options.batch, width, device=options.device
    )
    leaves = hidden.clone().requires_grad_(), output.clone().requires_grad_()
    frozen = nn.Identity()
    blocks: dict[str, tuple[Block, nn.Module]] = {
        "ours": (lambda read, given: adapter(read, given, frozen, context), adapter)
    }
    for name, inside in (("a loop, A once", False), ("a loop, A inside", True)):
        loop = Loop(adapter, inside=inside)
        blocks[name] = (loop, loop)
    if options.compiled:
        ours, _ = blocks["ours"]
        blocks["the adapter, compiled"] = torch.compile(ours), adapter
        blocks["one product, compiled"] = torch.compile(partial(in_one_product, adapter)), adapter
    shape = {"width": width, "groups": groups, "tokens": options.tokens}
    shape |= {"experts": options.experts, "rank": options.rank}
    steps: dict[str, Step] = {
        name: partial(there_and_back, *block, *leaves, cotangent) for name, block in blocks.items()
    }
    _refuse_different(steps)
    compare("hydra-block", steps, shape, options)
    kept = {
        name: kept_bytes(partial(block, *leaves), [*leaves, *module.parameters()])
        for name, (block, module) in blocks.items()
    }
    passing = {name: passing_bytes(step, options.device) for name, step in steps.items()}
    for name, numbers in (("kept", kept), ("passing", passing)):
        for opponent in [each for each in blocks if each != "ours"]:
            report_bytes(f"hydra-block-{name}", numbers["ours"], numbers[opponent], opponent, shape)


def _refuse_different(steps: dict[str, Step]) -> None:
    ours, *theirs = (step() for step in steps.values())
    for each in theirs:
        torch.testing.assert_close(each, ours, rtol=1e-3, atol=1e-3)


def main() -> None:
    """Run the comparisons that the command asks for."""
    parser = parser_of(__doc__)
    parser.add_argument("--widths", nargs="+", type=int, default=[384, 768, 4096])
    parser.add_argument("--groups", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2048, help="of all examples together")
    parser.add_argument("--batch", type=int, default=16, help="examples")
    parser.add_argument("--compiled", action="store_true", help="also torch.compile")
    options = parser.parse_args()
    for width in options.widths:
        for groups in options.groups:
            run(width, groups, options)


if __name__ == "__main__":
    main()
