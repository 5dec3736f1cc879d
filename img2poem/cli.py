"""The command line: ``img2poem write`` and ``img2poem serve``."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .client import Img2Poem
from .console import reporting
from .decoding import MAX_BEAM_WIDTH, BeamSearch, Greedy, Sampling, Strategy
from .errors import BadImage, InvalidOption
from .serving.cli import serve

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


class StrategyName(str, Enum):
    """How the poem is searched for."""

    greedy = "greedy"
    beam = "beam"
    sample = "sample"


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """A photograph goes in, a poem about it comes out."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def write(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="JPEG, PNG, GIF, WebP, BMP or TIFF files.")],
    engine: Annotated[
        Path | None, typer.Option(help="Model repository to run in process.", show_default="triton_repo")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Server to ask instead, grpc://HOST:PORT.")] = None,
    strategy: Annotated[StrategyName, typer.Option(help="How the poem is searched for.")] = StrategyName.beam,
    beam_width: Annotated[
        int | None, typer.Option(help=f"Width of the beam, 1 to {MAX_BEAM_WIDTH}.", show_default="5")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Temperature of sampling: lower is safer, higher more surprising.", show_default="0.8"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of sampling: another one gives another poem.", show_default="0")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each photograph.")] = False,
) -> None:
    """Write a poem about each photograph. Exit status 2 when a photograph could not be used."""
    with reporting():
        if engine is not None and url is not None:
            raise InvalidOption("give --engine or --url, not both")
        decoding = _strategy(strategy, beam_width, temperature, seed)
        with Img2Poem(url or engine or "triton_repo") as poet:
            bad = sum(not _write_one(poet, photo, decoding, as_json, len(photos) > 1) for photo in photos)
    if bad:
        raise typer.Exit(2)


app.command()(serve)


def _strategy(name: StrategyName, width: int | None, temperature: float | None, seed: int | None) -> Strategy:
    """Return the strategy with the options that were given, each of which belongs to one strategy alone."""
    options = {
        "--beam-width": ("width", width, StrategyName.beam),
        "--temperature": ("temperature", temperature, StrategyName.sample),
        "--seed": ("seed", seed, StrategyName.sample),
    }
    given: dict[str, Any] = {}
    for option, (field, value, owner) in options.items():
        if value is not None and name is not owner:
            raise InvalidOption(f"{option} goes with --strategy {owner.value}")
        if value is not None:
            given[field] = value
    strategies: dict[StrategyName, type[Strategy]] = {
        StrategyName.greedy: Greedy,
        StrategyName.beam: BeamSearch,
        StrategyName.sample: Sampling,
    }
    return strategies[name](**given)


def _write_one(poet: Img2Poem, photo: str, strategy: Strategy, as_json: bool, titled: bool) -> bool:
    """Print the poem; False, and one line on stderr, when the photograph cannot be used."""
    try:
        poem = poet.write(photo, strategy)
    except BadImage as error:
        typer.echo(f"img2poem: {photo}: {error}", err=True)
        return False
    if as_json:
        typer.echo(poem.to_json(photo=photo))
    else:
        typer.echo((f"{photo}\n\n" if titled else "") + poem.text + "\n")
    sys.stdout.flush()
    return True
