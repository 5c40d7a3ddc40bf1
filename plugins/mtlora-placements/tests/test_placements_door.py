from __future__ import annotations

import mtlora_placements
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_placements)


def test_offers_both_placements() -> None:
    assert [c.name for c in components_of(mtlora_placements)] == ["component", "block"]
