from __future__ import annotations

import mtlora_torchjd
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_torchjd)


def test_offers_transforms_and_weightings_alone_each_with_its_paper() -> None:
    components = components_of(mtlora_torchjd)

    assert all(each.transforms_gradients != each.weighs_losses for each in components)
    assert all(each.paper for each in components)
    assert len({each.paper for each in components}) == len(components) == 18


def test_weightings_say_which_losses_they_read() -> None:
    reads = {
        each.name: each.capabilities["weighs_losses"]
        for each in components_of(mtlora_torchjd)
        if each.weighs_losses
    }

    assert reads == {
        "uncertainty-weighting": "earlier",
        "dwa": "earlier",
        "random-weighting": "earlier",
        "famo": "current",
        "geometric-mean": "current",
        "stch": "current",
    }
