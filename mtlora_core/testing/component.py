"""What every description promises: complete, loadable, and light."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from types import ModuleType

from ..component import Component, load, problems_of
from ..options import BackboneOptions, Options, PenaltyOptions, TransformOptions
from .samples import components_of


def check_plugin(plugin: ModuleType) -> None:
    """Assert that a plugin's door and all it describes keep the contract.

    The door imports neither torch nor pydantic, names are unique within a kind, and every
    component passes :func:`check_component`.
    """
    components = components_of(plugin)
    assert components, f"{plugin.__name__} describes nothing; is the hook marked @hookimpl?"
    _assert_light([plugin.__name__], {"torch", "pydantic"})
    for (kind, name), count in Counter((c.kind, c.name) for c in components).items():
        assert count == 1, f"{plugin.__name__} describes {count} components {kind} {name!r}"
    _assert_light((module for c in components for module in light_modules(c)), {"torch"})
    for component in components:
        _check_loaded(component)


def check_component(component: Component) -> None:
    """Assert that a description has no problem, that what it names loads, and loads lightly.

    The options are of the class that the kind asks for, each with a help text, and importing
    them imports no torch; nor does importing a placement's ``build``, which ``resolve`` calls.
    """
    _check_loaded(component)
    _assert_light(light_modules(component), {"torch"})


def light_modules(component: Component) -> list[str]:
    """Return the modules of a component that must be importable without torch."""
    light = [component.options] + [component.build] * (component.kind == "placement")
    return [text.partition(":")[0] for text in light]


def _check_loaded(component: Component) -> None:
    where = f"{component.kind} {component.name!r}"
    problems = problems_of(component)
    assert not problems, "\n".join(problems)
    assert component.summary, f"{where} has no summary"
    assert callable(load(component.build)), f"{where}: {component.build} cannot be called"
    options, base = load(component.options), _base(component)
    assert issubclass(options, base), f"{where}: its options must derive from {base.__name__}"
    for name, field in options.model_fields.items():
        assert field.description, f"{where}: option {name!r} has no docstring, which is its help"


def _base(component: Component) -> type[Options]:
    if component.kind == "backbone":
        return BackboneOptions
    if component.transforms_gradients:
        return TransformOptions
    if "penalizes" in component.capabilities:
        return PenaltyOptions
    return Options


def _assert_light(modules: Iterable[str], heavy: set[str]) -> None:
    """Assert, in a fresh interpreter, that importing ``modules`` imports nothing ``heavy``."""
    imports = "; ".join(f"import {module}" for module in dict.fromkeys(modules))
    probe = f"{imports}; import sys; print(*sorted({heavy!r} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert run.returncode == 0, f"{imports!r} fails:\n{run.stderr}"
    assert not run.stdout.strip(), f"{imports!r} imports {run.stdout.strip()}"
