"""Frozen vision transformers of timm as backbones."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the backbone ``timm``."""
    return [
        Component(
            kind="backbone",
            name="timm",
            options="mtlora_timm.options:TimmOptions",
            build="mtlora_timm.backbone:build",
            summary="a frozen vision transformer of timm, from the hub or a file",
            paper="arXiv:2010.11929",
        )
    ]
