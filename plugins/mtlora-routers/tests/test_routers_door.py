from __future__ import annotations

import mtlora_routers
from mtlora_core.testing import check_plugin, components_of


def test_describes_its_parts_lightly() -> None:
    check_plugin(mtlora_routers)


def test_offers_routers_for_the_model_tasks_tokens_and_groups() -> None:
    routers = {c.name: c.capabilities["per"] for c in components_of(mtlora_routers)}

    assert routers == {
        "uniform": "model",
        "task": "task",
        "task-embedding": "task",
        "token": "token",
        "fine-grained": "group",
        "top-k": "token",
        "rank-top-k": "token",
    }
