"""An adapter at a module that no forward calls would learn nothing, and must not do so silently."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from mtlora_core.adapters import Adapter, Adapters
from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Experts, Routing, SiteInput
from mtlora_core.sites import Site

WIDTH = 6


class Shift(Experts):
    """Adds a learned vector."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 1
        self.vector = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        return torch.zeros_like(site.base_output) + self.vector

    @property
    def up_factors(self) -> Tensor:
        return self.vector[:, None, None]


class Layer(nn.Module):
    """A layer whose attention has an output projection that is never called as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 1, batch_first=True)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.outer = nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: Tensor, whole: bool = True) -> Tensor:
        attended: Tensor = self.attention(hidden, hidden, hidden, need_weights=False)[0]
        if not whole:
            return attended
        return self.outer(self.inner(attended))  # type: ignore[no-any-return]


def adapted(*paths: tuple[str, str]) -> tuple[Layer, Adapters]:
    """Return a layer with adapters that read and add at the modules of these paths."""
    layer, sites = Layer(), []
    for number, (reads, adds) in enumerate(paths):
        sites.append(Site(f"site{number}", "projection", 0, reads, adds, WIDTH, WIDTH))
    adapters = Adapters([Adapter(site, Shift(), None) for site in sites])
    adapters.attach(layer)
    return layer, adapters


def both(*names: str) -> Sequence[tuple[str, str]]:
    return [(name, name) for name in names]


HIDDEN = torch.ones(2, 3, WIDTH)


def test_the_first_forward_names_every_site_that_it_has_not_called() -> None:
    layer, _ = adapted(*both("attention.out_proj", "inner", "outer"))

    with pytest.raises(CompositionError) as caught:
        layer(HIDDEN, whole=False)

    assert [problem.split(",")[0] for problem in caught.value.problems] == [
        "site site0: the model's first forward has not called 'attention.out_proj'",
        "site site1: the model's first forward has not called 'inner'",
        "site site2: the model's first forward has not called 'outer'",
    ]


def test_a_site_that_is_left_unused_is_named_again_until_it_is_used() -> None:
    layer, _ = adapted(*both("inner"))

    for _ in range(2):
        with pytest.raises(CompositionError, match="has not called 'inner'"):
            layer(HIDDEN, whole=False)
    layer(HIDDEN)


def test_what_has_been_used_once_may_be_left_out_later() -> None:
    layer, _ = adapted(*both("inner", "outer"))
    layer(HIDDEN)

    layer(HIDDEN, whole=False)


def test_a_copy_made_before_the_first_forward_judges_its_own() -> None:
    layer, _ = adapted(*both("inner"))
    copied = deepcopy(layer)
    layer(HIDDEN)

    with pytest.raises(CompositionError, match="has not called 'inner'"):
        copied(HIDDEN, whole=False)


def test_a_forward_that_fails_keeps_its_own_error() -> None:
    layer, _ = adapted(*both("inner", "outer"))

    def fail(module: nn.Module, args: object) -> None:
        raise KeyError("in the middle")

    handle = layer.inner.register_forward_pre_hook(fail)

    with pytest.raises(KeyError, match="in the middle"):
        layer(HIDDEN)
    handle.remove()
    layer(HIDDEN)


def test_a_site_whose_output_comes_before_its_input_is_named() -> None:
    layer, _ = adapted(("outer", "inner"))

    with pytest.raises(CompositionError, match="site site0: its output is there before its input"):
        layer(HIDDEN)
