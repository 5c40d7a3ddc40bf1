"""The contracts as code, one suite per kind; for the tests of plugins, ours and anyone's.

A suite takes a component's description and options as a recipe writes them, builds the part and
asserts what every part of its kind promises::

    from mtlora_core.testing import check_plugin, check_router, described

    def test_keeps_the_contract_of_a_router() -> None:
        check_router(described(mtlora_softmax, "router", "softmax"), {"temperature": 0.5})

Needs no test runner: what breaks the contract is an ``AssertionError`` that says what. Parts run
on the CPU, or on the device that the environment variable ``MTLORA_TEST_DEVICE`` names.
"""

from __future__ import annotations

from .backbone import check_backbone
from .component import check_component, check_plugin
from .executor import check_executor
from .experts import check_experts
from .language import check_language_model
from .penalty import check_penalty
from .placement import check_placement
from .router import check_router
from .samples import components_of, described, task_gradients, tiny_shape, tiny_site
from .tasks import check_tasks
from .transform import check_transform
from .weighting import check_weighting

__all__ = [
    "check_backbone",
    "check_component",
    "check_executor",
    "check_experts",
    "check_language_model",
    "check_penalty",
    "check_placement",
    "check_plugin",
    "check_router",
    "check_tasks",
    "check_transform",
    "check_weighting",
    "components_of",
    "described",
    "task_gradients",
    "tiny_shape",
    "tiny_site",
]
