"""The command ``mtlora``: one file per command; printing and exit codes stay in this package.

Nothing heavy is imported before a command runs: ``mtlora --help`` loads neither pydantic nor
rich, and torch is loaded only by commands that build a model.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from . import (
    ablate,
    check,
    cite,
    compose,
    diagnose,
    diff,
    evaluate,
    export,
    plugins,
    predict,
    report,
    runs,
    schema,
)

app = typer.Typer(
    name="mtlora",
    help="Compose multi-task low-rank adaptation from plugins.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich would double the time of --help and wrap what should be greppable
    pretty_exceptions_enable=False,  # a traceback is for us to read: whole, and as Python has it
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mtlora {version('mtlora')}")
        raise typer.Exit


@app.callback(
    epilog="Start with `mtlora plugins list`, `mtlora check RECIPE`, `mtlora compose RECIPE`."
)
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Compose multi-task low-rank adaptation from plugins."""


app.command()(compose.compose)
app.command()(ablate.ablate)
app.command()(runs.runs)
app.command()(diff.diff)
app.command()(check.check)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command()(schema.schema)
app.command()(export.export)
app.command()(cite.cite)
app.command()(report.report)
app.command()(diagnose.diagnose)
app.add_typer(plugins.app)


def main() -> None:
    """Run the command; the console script ``mtlora``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A label or a rule that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="mtlora")


__all__ = ["app", "main"]
