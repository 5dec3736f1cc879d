"""The command line: ``img2poem write`` and the other commands of :mod:`img2poem.cli`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..version import __version__
from . import analysis, cards, checks, console, poems
from .serve import serve
from .web import web


class _CommandLine(typer.Typer):
    def __call__(self, *args: Any, **options: Any) -> Any:
        with console.at_the_edge():
            return super().__call__(*args, **options)


app = _CommandLine(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log every request, retries included, to standard error.")
    ] = False,
) -> None:
    """A photograph goes in, a poem about it comes out."""
    if verbose:
        console.log_everything()
    if version:
        console.say(__version__)
        raise typer.Exit


_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Poems": (poems.write, poems.stream, poems.batch, cards.card, analysis.describe, analysis.embed, analysis.score),
    "Models": (serve, web, checks.inspect, checks.seal, checks.doctor),
}
for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
