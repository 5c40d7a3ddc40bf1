from __future__ import annotations

import mtlora_regularizers
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_regularizers)


def test_offers_penalties_on_weights_on_routing_and_on_the_choice_of_experts() -> None:
    components = components_of(mtlora_regularizers)
    penalties = [c for c in components if not c.transforms_gradients]

    assert {c.name: c.capabilities["penalizes"] for c in penalties} == {
        "uniform-orthogonality": "weights",
        "spectral-aware": "weights",
        "balance": "routing",
        "load-balancing": "selection",
    }


def test_offers_transforms() -> None:
    transforms = [c.name for c in components_of(mtlora_regularizers) if c.transforms_gradients]

    assert transforms == ["orthogonal-gradient", "grad-norm"]
