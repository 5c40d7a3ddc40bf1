from __future__ import annotations

import mtlora_torchjd
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_torchjd)


def test_offers_transforms_alone_each_with_its_paper() -> None:
    components = components_of(mtlora_torchjd)

    assert all(each.transforms_gradients and each.paper for each in components)
    assert len({each.paper for each in components}) == len(components) == 10
