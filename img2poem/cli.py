"""The command line: ``img2poem write``, ``img2poem serve`` and ``img2poem inspect``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__
from .client import Img2Poem
from .console import reporting
from .decoding import MAX_BEAM_WIDTH, OPTIONS, AnyStrategy, BeamSearch, BestOf, Greedy, Sampling
from .errors import BadImage, InvalidOption
from .serving.cli import serve

if TYPE_CHECKING:
    from .inspection import Report

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


class StrategyName(str, Enum):
    """How the poem is searched for."""

    greedy = "greedy"
    beam = "beam"
    sample = "sample"
    best_of = "best-of"


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
    n: Annotated[
        int | None,
        typer.Option("--n", help=f"Candidates of best-of, 1 to {OPTIONS['n'].highest:g}.", show_default="16"),
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
        decoding = _strategy(strategy, beam_width, n, temperature, seed)
        with Img2Poem(url or engine or "triton_repo") as poet:
            bad = sum(not _write_one(poet, photo, decoding, as_json, len(photos) > 1) for photo in photos)
    if bad:
        raise typer.Exit(2)


app.command()(serve)


@app.command()
def inspect(
    repository: Annotated[Path, typer.Argument(help="Model repository to look at.")] = Path("triton_repo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print what a model repository was made from, and check files and stamps. Exit status 1 when one is wrong."""
    from .inspection import inspect as read

    with reporting():
        report = read(repository)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    else:
        _print_report(report)
    if report.problems:
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    typer.echo(f"contract {report.contract}")
    shared = {key: value for key, value in report.models[0].stamps.items() if key not in ("contract", "model")}
    for key, value in shared.items():
        typer.echo(f"{key} {value}")
    for model in report.models:
        typer.echo(f"{model.name:30} {model.platform:18} {model.size / 1e6:8.1f} MB")
    for problem in report.problems:
        typer.echo(f"wrong: {problem}", err=True)
    if not report.problems:
        typer.echo("all files and stamps are as they were written")


def _strategy(
    name: StrategyName, width: int | None, n: int | None, temperature: float | None, seed: int | None
) -> AnyStrategy:
    """Return the strategy with the options that were given, each of which belongs to some strategies alone."""
    sampling = (StrategyName.sample, StrategyName.best_of)
    options: dict[str, tuple[str, float | None, tuple[StrategyName, ...]]] = {
        "--beam-width": ("width", width, (StrategyName.beam,)),
        "--n": ("n", n, (StrategyName.best_of,)),
        "--temperature": ("temperature", temperature, sampling),
        "--seed": ("seed", seed, sampling),
    }
    given: dict[str, Any] = {}
    for option, (field, value, owners) in options.items():
        if value is not None and name not in owners:
            raise InvalidOption(f"{option} goes with --strategy {' or '.join(owner.value for owner in owners)}")
        if value is not None:
            given[field] = value
    if name is StrategyName.best_of:
        count = {"n": given.pop("n")} if "n" in given else {}
        return BestOf(**count, sampling=Sampling(**given))
    strategies: dict[StrategyName, type[BeamSearch | Greedy | Sampling]] = {
        StrategyName.greedy: Greedy,
        StrategyName.beam: BeamSearch,
        StrategyName.sample: Sampling,
    }
    return strategies[name](**given)


def _write_one(poet: Img2Poem, photo: str, strategy: AnyStrategy, as_json: bool, titled: bool) -> bool:
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
