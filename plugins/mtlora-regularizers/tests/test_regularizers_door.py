from __future__ import annotations

import mtlora_regularizers
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_regularizers)


def test_offers_three_penalties() -> None:
    names = [c.name for c in components_of(mtlora_regularizers)]

    assert names == ["uniform-orthogonality", "spectral-aware", "balance"]
