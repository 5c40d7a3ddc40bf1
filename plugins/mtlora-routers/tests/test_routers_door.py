from __future__ import annotations

import mtlora_routers
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_routers)


def test_offers_three_routers() -> None:
    assert [c.name for c in components_of(mtlora_routers)] == ["uniform", "token", "fine-grained"]
