"""What a part is: a description that can be read without loading the part."""

from __future__ import annotations

from collections.abc import Mapping
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

CAPABILITIES: Mapping[Kind, Mapping[str, type | tuple[type, ...]]] = {
    "router": {
        "per": str,
        "needs_task": bool,
        "normalized": bool,
        "causal": bool,
        "learned": bool,
        "sparse": bool,
    },
    "experts": {
        "mixes": tuple,
        "mergeable": bool,
        "needs_base": bool,
        "needs_task": bool,
        "start_equal": bool,
    },
    "regularizer": {"penalizes": str, "transforms_gradients": bool, "weighs_losses": str},
    "placement": {"sites": tuple},
    "backbone": {"language": bool},
    "tasks": {},
    "executor": {},
}
"""What each kind may declare. ``resolve`` reads these, so that parts which cannot work together
are told apart before anything is loaded.

router
    ``per`` (a :data:`Per`), ``needs_task``, ``normalized`` (weights sum to one), ``causal``
    (a token's weights never depend on later tokens), ``learned`` (has parameters), ``sparse``
    (keeps only some experts, and says in ``Routing.dense`` what it chose from).
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
    known = CAPABILITIES[component.kind]
    problems = [
        f"{where}: {label} must be an import string 'package.module:attribute', not {text!r}"
        for label, text in (("options", component.options), ("build", component.build))
        if text.count(":") != 1 or text.startswith(":") or text.endswith(":")
    ]
    for name, value in component.capabilities.items():
        if name not in known:
            problems.append(
                f"{where}: unknown capability {name!r}; known: {', '.join(known) or 'none'}"
            )
        elif not isinstance(value, known[name]):
            problems.append(f"{where}: capability {name!r} must not be {value!r}")
    if component.kind == "router" and component.capabilities.get("per") not in get_args(Per):
        problems.append(f"{where}: capability 'per' must be one of {', '.join(get_args(Per))}")
    if component.kind == "regularizer":
        problems += _regularizer_problems(where, component)
    return problems


def _regularizer_problems(where: str, component: Component) -> list[str]:
    declared = {
        "penalizes": "penalizes" in component.capabilities,
        "transforms_gradients": component.transforms_gradients,
        "weighs_losses": component.weighs_losses,
    }
    said = [name for name, does in declared.items() if does]
    if len(said) != 1:
        return [
            f"{where}: declares {' and '.join(map(repr, said)) or 'none'} of "
            f"{', '.join(map(repr, declared))}; a regularizer does one of them"
        ]
    weighs = component.capabilities.get("weighs_losses")
    if weighs not in (None, "earlier", "current"):
        return [f"{where}: capability 'weighs_losses' must be earlier or current, not {weighs!r}"]
    return []


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
