from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

import mtlora_torchjd
from mtlora_core.component import load
from mtlora_core.errors import CompositionError
from mtlora_core.testing import described

NEEDED = {
    "upgrad": ("qpsolvers", "quadprog"),
    "dual-proj": ("quadprog", "quadprog"),
    "cagrad": ("cvxpy", "cagrad"),
    "fairgrad": ("scipy", "fairgrad"),
    "nash-mtl": ("ecos", "nash-mtl"),
}


def without(missing: str) -> Callable[..., ModuleSpec | None]:
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == missing else real(name, package)

    return find_spec


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_solver_is_told_with_the_extra_that_brings_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, extra = NEEDED[name]
    monkeypatch.setattr("torchjd._mixins.find_spec", without(module))
    component = described(mtlora_torchjd, "regularizer", name)
    options: Any = load(component.options)()

    with pytest.raises(CompositionError) as caught:
        load(component.build)(options, ("one", "two"), 1)

    text = str(caught.value)
    assert text.startswith(f"regularizer {name!r}: ")
    assert f"{module!r}" in text
    assert text.endswith(f'pip install "mtlora-torchjd[{extra}]"')
