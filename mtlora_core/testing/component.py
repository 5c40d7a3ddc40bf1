"""What every description promises: complete, loadable, and light."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from types import ModuleType

from pluggy import PluginValidationError
from pydantic import ValidationError

from ..component import Component, load, problems_of
from ..declared import misfit
from ..hookspecs import manager
from ..options import Options, rewriting_problems
from .samples import components_of


def check_plugin(plugin: ModuleType) -> None:
    """Assert that a plugin's door and all it describes keep the contract.

    The door imports neither torch nor pydantic and implements hooks of mtlora only, names are
    unique within a kind, and every component passes :func:`check_component`.
    """
    _assert_hooks(plugin)
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

    The options are of the class that the kind asks for, each with a help text; those that have
    defaults read back the same once written out. Importing them imports no torch; nor does
    importing a placement's ``build``, which ``resolve`` calls.
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
    options = load(component.options)
    reason = misfit(component, options)
    assert not reason, f"{where}: {reason}"
    for name, field in options.model_fields.items():
        assert field.description, f"{where}: option {name!r} has no docstring, which is its help"
        assert not field.alias, f"{where}: option {name!r} has an alias, and is written by its name"
    _assert_rewritten(where, options)


def _assert_rewritten(where: str, options: type[Options]) -> None:
    """Assert that default options read back the same; some have options that are required."""
    try:
        made = options.model_validate({})
    except ValidationError:
        return
    for name, reason in rewriting_problems(made):
        raise AssertionError(f"{where}: option {name!r} {reason}")


def _assert_hooks(plugin: ModuleType) -> None:
    """Assert that a door has no function whose name begins as a hook's and is none."""
    known = manager()
    known.register(plugin)
    try:
        known.check_pending()
    except PluginValidationError as error:
        raise AssertionError(f"{plugin.__name__}: {error}") from error


def _assert_light(modules: Iterable[str], heavy: set[str]) -> None:
    """Assert, in a fresh interpreter, that importing ``modules`` imports nothing ``heavy``."""
    imports = "; ".join(f"import {module}" for module in dict.fromkeys(modules))
    probe = f"{imports}; import sys; print(*sorted({heavy!r} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert run.returncode == 0, f"{imports!r} fails:\n{run.stderr}"
    assert not run.stdout.strip(), f"{imports!r} imports {run.stdout.strip()}"
