"""What a part is: a description that can be read without loading the part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal, get_args

from .errors import PluginError

Kind = Literal["placement", "router", "regularizer", "backbone", "experts", "tasks", "executor"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Per = Literal["model", "task", "sequence", "token", "group"]
"""The unit that a router weighs experts for."""

API = 1
"""The contract's version; a component of another is refused."""

NAME = r"\w[\w.-]*"
"""What a part may be called: a recipe writes ``package/name``, and edits a list by ``+name``."""


@dataclass(frozen=True)
class Choice:
    """What a capability may be: one of ``values``, or ``several`` in a tuple."""

    values: tuple[object, ...]
    several: bool = False

    def takes(self, value: object) -> bool:
        """Return whether a component may declare this."""
        if self.several:
            return isinstance(value, tuple) and all(map(Choice(self.values).takes, value))
        return any(type(value) is type(known) and value == known for known in self.values)

    def __str__(self) -> str:
        *others, last = map(str, self.values)
        named = f"{', '.join(others)} or {last}"
        return f"a tuple, each of them {named}" if self.several else named


FLAG = Choice((True, False))

CAPABILITIES: Mapping[Kind, Mapping[str, Choice]] = {
    "router": {
        "per": Choice(get_args(Per)),
        "needs_task": FLAG,
        "normalized": FLAG,
        "causal": FLAG,
        "learned": FLAG,
        "sparse": FLAG,
    },
    "experts": {
        "mixes": Choice(get_args(Per), several=True),
        "mergeable": FLAG,
        "needs_base": FLAG,
        "needs_task": FLAG,
        "start_equal": FLAG,
    },
    "regularizer": {
        "penalizes": Choice(("weights", "routing", "selection")),
        "transforms_gradients": FLAG,
        "weighs_losses": Choice(("earlier", "current")),
    },
    "placement": {"sites": Choice(("projection", "block"), several=True)},
    "backbone": {"language": FLAG},
    "tasks": {},
    "executor": {},
}
"""What each kind may declare. ``resolve`` reads these, so that parts which cannot work together
are told apart before anything is loaded.

router
    ``per`` (a :data:`Per`), ``needs_task``, ``normalized`` (weights sum to one), ``causal``
    (weights depend on no token but the one that they weigh: not on later ones, which a causal
    model must not see, nor on earlier ones, which it does not see again when it writes),
    ``learned`` (has parameters), ``sparse`` (keeps only some experts, and says in
    ``Routing.dense`` what it chose from).
experts
    ``mixes`` (the :data:`Per` values they serve; empty: they take no router), ``mergeable``
    (under weights that depend on no input the update is a matrix, which ``factors`` gives),
    ``needs_base`` (reads the base output or weight), ``needs_task`` (asks for the task of each
    example, whatever the router), ``start_equal`` (fresh experts differ in nothing, so only their
    weights can tell them apart).
regularizer
    One of ``penalizes`` (``weights``, ``routing``, or ``selection``: which experts a sparse router
    keeps), ``transforms_gradients``, and ``weighs_losses`` (by losses of ``earlier`` steps, or by
    the ``current`` step's own, which are known only where a step has one forward).
placement
    ``sites`` (of ``projection`` and ``block``).
backbone
    ``language`` (can be built as a :class:`~mtlora_core.interfaces.LanguageModel`).
"""


@dataclass(frozen=True)
class Component:
    """The description of one part, made by a plugin's door.

    ``options`` and ``build`` are import strings, ``"package.module:attribute"``, loaded only
    when a recipe names the part. The module of the options imports no torch; that of ``build``
    may, except a placement's, which ``resolve`` calls.
    """

    kind: Kind
    name: str
    options: str
    """Import string of an :class:`~mtlora_core.options.Options` class."""
    build: str
    """Import string of the callable of ``mtlora_core.interfaces`` for this kind."""
    summary: str
    paper: str = ""
    """Where the method is from, such as ``arXiv:2603.01526``."""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    api: int = API

    def __post_init__(self) -> None:
        # A frozen dataclass over a caller's dict would not be frozen.
        object.__setattr__(self, "capabilities", MappingProxyType(dict(self.capabilities)))

    @property
    def transforms_gradients(self) -> bool:
        """Whether this is a regularizer that makes one gradient of the tasks' gradients."""
        return bool(self.capabilities.get("transforms_gradients", False))

    @property
    def weighs_losses(self) -> bool:
        """Whether this is a regularizer that weighs the tasks' losses."""
        return "weighs_losses" in self.capabilities


def problems_of(component: Component) -> list[str]:
    """Return what breaks the contract in a description; nothing is imported."""
    where = f"{component.kind} {component.name!r}"
    if component.kind not in KINDS:
        return [f"{where}: no such kind; the kinds are {', '.join(KINDS)}"]
    if component.api != API:
        return [f"{where}: is written for api {component.api}, this mtlora speaks api {API}"]
    problems = [*_text_problems(component), *_capability_problems(component)]
    return [f"{where}: {problem}" for problem in problems]


def _text_problems(component: Component) -> Iterator[str]:
    if not (isinstance(component.name, str) and re.fullmatch(NAME, component.name)):
        yield (
            "a name begins with a letter or digit and goes on with letters, digits and . _ -, "
            "or no recipe can write it"
        )
    for label in ("options", "build"):
        text = getattr(component, label)
        if not (isinstance(text, str) and re.fullmatch("[^:]+:[^:]+", text)):
            yield f"{label} must be an import string 'package.module:attribute', not {text!r}"
    for label in ("summary", "paper"):
        text = getattr(component, label)
        if not isinstance(text, str):
            yield f"{label} must be a text, not {text!r}"


def _capability_problems(component: Component) -> Iterator[str]:
    known = CAPABILITIES[component.kind]
    for name, value in component.capabilities.items():
        if name not in known:
            yield f"unknown capability {name!r}; known: {', '.join(known) or 'none'}"
        elif not known[name].takes(value):
            yield f"capability {name!r} must be {known[name]}, not {value!r}"
    if component.kind == "router" and "per" not in component.capabilities:
        yield f"capability 'per' must be {known['per']}"
    if component.kind == "regularizer":
        yield from _regularizer_problems(component)


def _regularizer_problems(component: Component) -> Iterator[str]:
    declared = {
        "penalizes": "penalizes" in component.capabilities,
        "transforms_gradients": component.transforms_gradients,
        "weighs_losses": component.weighs_losses,
    }
    said = [name for name, does in declared.items() if does]
    if len(said) != 1:
        yield (
            f"declares {' and '.join(map(repr, said)) or 'none'} of "
            f"{', '.join(map(repr, declared))}; a regularizer does one of them"
        )


def load(text: str) -> Any:
    """Import what an import string names.

    Raises:
        PluginError: the module cannot be imported, or has no such attribute.
    """
    module, _, attribute = text.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # a plugin's module may fail in any way; the plugin is named
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"cannot load {text!r}: {reason}") from error
