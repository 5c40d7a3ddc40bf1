"""Describing a model that somebody has built: its names are relative to what was passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mtlora_core.errors import CompositionError
from mtlora_core.sites import BackboneShape

from .description import describe, layers_of
from .families import FAMILIES
from .verification import verify


def describe_module(module: Any) -> BackboneShape:
    """Return the shape of a transformers model, whatever it is wrapped in.

    Raises:
        CompositionError: there is no configuration or list of layers in it, its family is
            unknown, or its modules are not as the family table says.
    """
    config = _config_of(module)
    layers = layers_of(config)
    if layers is None:
        raise CompositionError(
            f"model type {config['model_type']!r} is not in the family table "
            f"({', '.join(FAMILIES)}), and only a recipe that loads its model itself can say "
            "where the blocks of another are, with its backbone's option `blocks`"
        )
    shape = describe(config, prefix=_prefix(module, layers))
    verify(module, shape)
    return replace(shape, packed=_is_packed(module))


def _is_packed(module: Any) -> bool:
    """Whether some weights are whole numbers that stand for others."""
    return any(not parameter.is_floating_point() for parameter in module.parameters())


def _config_of(module: Any) -> Mapping[str, Any]:
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if getattr(config, "model_type", None):
            values: Mapping[str, Any] = config.to_dict()
            return values
    raise CompositionError(
        f"{type(module).__name__} is no model of transformers: no part of it has a configuration"
    )


def _prefix(module: Any, layers: str) -> str:
    found = [
        name.removesuffix(layers)
        for name, _ in module.named_modules()
        if name == layers or name.endswith(f".{layers}")
    ]
    if len(found) != 1:
        raise CompositionError(
            f"{type(module).__name__} should have one list of layers named {layers!r}, "
            f"not {len(found)}; pass the text model itself"
        )
    return str(found[0])
