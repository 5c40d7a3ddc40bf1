"""``mtlora plugins``: which parts there are, and what each takes."""

from __future__ import annotations

import shutil
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MtloraError, PluginError, RecipeError
from .arguments import FirstPartyOnly, installed
from .failure import reporting

if TYPE_CHECKING:
    from ..registry import Installed, Observer, Registry

app = typer.Typer(name="plugins", rich_markup_mode=None)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A part, such as lora, experts/lora or mtlora-experts/lora; a package."
    ),
]


@app.callback(invoke_without_command=True)
def plugins(context: typer.Context) -> None:
    """Show the installed parts and their options; alone, list them."""
    if context.invoked_subcommand is None:
        show_list()


@app.command("list")
@reporting
def show_list(first_party_only: FirstPartyOnly = False) -> None:
    """List installed parts, broken plugins, and known packages."""
    from . import listing

    for line in listing.overview(installed(first_party_only), _width()):
        typer.echo(line)


@app.command("info")
@reporting
def info(name: Name, first_party_only: FirstPartyOnly = False) -> None:
    """Show a part's paper, capabilities and options, or what an observer hears of."""
    from . import listing

    registry = installed(first_party_only)
    found = [part for part in registry.parts() if name in _names(part)]
    observers = [each for each in registry.observing() if name in _observer_names(each)]
    if not (found or observers):
        raise _missing(name, registry)
    for part in found:
        for line in listing.details(part, _width()):
            typer.echo(line)
    for observer in observers:
        for line in listing.observer_details(observer):
            typer.echo(line)


def _names(part: Installed) -> tuple[str, ...]:
    name = part.component.name
    return name, f"{part.component.kind}/{name}", f"{part.package}/{name}", part.package


def _observer_names(observer: Observer) -> tuple[str, ...]:
    return observer.plugin.name, observer.plugin.package


def _missing(name: str, registry: Registry) -> MtloraError:
    from ..registry import normal
    from . import listing

    package, _, bare = name.rpartition("/")
    for broken, reason in registry.broken.items():
        if normal(broken) in (normal(name), normal(package)):
            return PluginError(f"the plugin {broken!r} is broken: {reason}")
    for known in listing.not_installed(registry):
        if known.name == name or any(part.name == bare for part in known.parts):
            return RecipeError(f"{name!r} is not installed; pip install {known.name}")
    names = {each for part in registry.parts() for each in _names(part)}
    names |= {each for observer in registry.observing() for each in _observer_names(observer)}
    near = get_close_matches(name, sorted(names), n=1)
    advice = f"did you mean {near[0]!r}?" if near else "`mtlora plugins list` has them all"
    return RecipeError(f"no installed part or package is named {name!r}; {advice}")


def _width() -> int:
    return shutil.get_terminal_size().columns
