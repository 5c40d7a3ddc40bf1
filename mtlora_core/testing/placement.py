"""What every placement promises: sites that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..component import Component, load
from ..sites import BackboneShape, Site
from .samples import options_of, tiny_shape


def check_placement(
    component: Component,
    options: Mapping[str, Any] | None = None,
    shape: BackboneShape | None = None,
) -> None:
    """Assert that a placement keeps its contract.

    It finds sites; the same ones when asked again; their names are unique and free of dots; a
    projection's site is a projection of the shape, a block's site a block of it; and their kinds
    are those that the component declares.

    Args:
        component: The placement's description.
        options: Its options, as a recipe writes them.
        shape: The backbone; None: a small encoder without gates.
    """
    shape = shape or tiny_shape()
    place = load(component.build)
    sites: Sequence[Site] = place(options_of(component, options), shape)

    assert isinstance(sites, Sequence), f"{component.build} returns no Sequence, but {sites!r}"
    assert sites, "the placement finds no site"
    assert list(sites) == list(place(options_of(component, options), shape)), "asked again, others"
    _check_names(sites)
    for site in sites:
        _check_site(site, shape)
        assert site.kind in component.capabilities["sites"], (
            f"site {site.name} is a {site.kind}; "
            f"the component declares {component.capabilities['sites']}"
        )


def _check_names(sites: Sequence[Site]) -> None:
    for name, count in Counter(site.name for site in sites).items():
        assert count == 1, f"{count} sites are named {name}"
        assert "." not in name, f"site {name} has a dot, which no torch module's name may have"


def _check_site(site: Site, shape: BackboneShape) -> None:
    where = f"site {site.name}"
    assert 0 <= site.layer < len(shape.layers), f"{where}: there is no layer {site.layer}"
    layer = shape.layers[site.layer]
    if site.kind == "projection":
        own = {(p.module, p.module, p.d, p.o, p.start) for p in layer.projections.values()}
    else:
        blocks = (layer.attention, layer.ffn)
        own = {(b.reads, b.adds, shape.width, shape.width, None) for b in blocks}
    found = (site.reads, site.adds, site.d, site.o, site.start)
    assert found in own, f"{where}: layer {site.layer} has no such {site.kind}: {found}"
