"""Frozen Hugging Face transformers models as backbones."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the backbone ``transformers``."""
    return [
        Component(
            kind="backbone",
            name="transformers",
            options="mtlora_transformers.options:TransformersOptions",
            build="mtlora_transformers.build:build",
            summary="a frozen model of Hugging Face transformers, for texts or pictures",
            paper="arXiv:1910.03771",
            capabilities={"language": True},
        )
    ]
