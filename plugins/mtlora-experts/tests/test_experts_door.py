from __future__ import annotations

import mtlora_experts
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_experts)


def test_offers_one_expert_and_many() -> None:
    names = [c.name for c in components_of(mtlora_experts)]

    assert names == ["lora", "per-task", "dora", "multilora", "hydra", "moe", "mtl", "rank-one"]
