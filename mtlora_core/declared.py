"""The class of a part's options, as its component declares it and its kind asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .component import Component
from .options import BackboneOptions, Options, PenaltyOptions, TransformOptions

if TYPE_CHECKING:
    from .registry import Installed


def options_class(installed: Installed) -> type[Options]:
    """Return the class of a part's options.

    Raises:
        PluginError: it cannot be loaded, or is not of the class that the kind asks for.
    """
    component, origin = installed.component, installed.origin
    model = origin.load(component.options)
    reason = misfit(component, model)
    if reason:
        raise origin.broken(reason)
    found: type[Options] = model
    return found


def misfit(component: Component, model: object) -> str | None:
    """Return why ``model`` cannot be the class of a component's options; None where it can."""
    base = options_base(component)
    if not (isinstance(model, type) and issubclass(model, base)):
        return f"{component.options!r} must be a subclass of mtlora_core.options.{base.__name__}"
    lacking = sorted(model.__abstractmethods__)
    if lacking:
        return f"{component.options!r} lacks {' and '.join(lacking)} of {base.__name__}"
    return None


def options_base(component: Component) -> type[Options]:
    """Return what a part's options derive from."""
    if component.kind == "backbone":
        return BackboneOptions
    if component.transforms_gradients:
        return TransformOptions
    if "penalizes" in component.capabilities:
        return PenaltyOptions
    return Options
