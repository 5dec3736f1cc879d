"""Options that several commands share, and what they ask the client for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer

from ..artifacts.installed import DISTRIBUTION, EXPORTED
from ..client.operations import Where
from ..decoding.strategies import MAX_BEAM_WIDTH, MAX_COUNT, OPTIONS, AnyStrategy, BeamSearch, BestOf, Greedy, Sampling
from ..errors import InvalidOption
from ..form.form import Form

#: What ``--engine`` is when it is not given, in words.
DEFAULT = f"{EXPORTED}, else the package {DISTRIBUTION}"
_FORM, _SEARCH = "Form of the poem", "Search"
_KINDS = "JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or HEIC"


class StrategyName(str, Enum):
    """How the poem is searched for."""

    greedy = "greedy"
    beam = "beam"
    sample = "sample"
    best_of = "best-of"


class LineStrategyName(str, Enum):
    """How a poem is searched for whose lines are known before its end."""

    greedy = "greedy"
    sample = "sample"


Photos = Annotated[list[str], typer.Argument(metavar="PHOTO...", help=f"{_KINDS} files; - is standard input.")]
Photo = Annotated[str, typer.Argument(metavar="PHOTO", help=f"A {_KINDS} file; - is standard input.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
StrategyOption = Annotated[
    StrategyName, typer.Option("--strategy", help="How the poem is searched for.", rich_help_panel=_SEARCH)
]
LineStrategyOption = Annotated[
    LineStrategyName, typer.Option("--strategy", help="How the poem is searched for.", rich_help_panel=_SEARCH)
]
BeamWidth = Annotated[
    int | None,
    typer.Option(help=f"Width of the beam, 1 to {MAX_BEAM_WIDTH}.", show_default="5", rich_help_panel=_SEARCH),
]
N = Annotated[
    int | None,
    typer.Option(
        "--n",
        help=f"Candidates of best-of, 1 to {OPTIONS['n'].highest:g}.",
        show_default="16",
        rich_help_panel=_SEARCH,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Temperature of sampling: lower is safer, higher more surprising.",
        show_default=f"{Sampling.temperature:g}",
        rich_help_panel=_SEARCH,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of sampling: another one gives another poem.", show_default="0", rich_help_panel=_SEARCH),
]
Forbid = Annotated[
    list[str] | None,
    typer.Option(metavar="WORD", help="A word that must not come; repeat it for more.", rich_help_panel=_SEARCH),
]
Count = Annotated[
    int,
    typer.Option(
        min=1,
        max=MAX_COUNT,
        help="Poems about each photograph, by sample or best-of: each has the seed after the one before.",
        rich_help_panel=_SEARCH,
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="server|client",
        help="Who searches: the server, or this process over the decoder's steps, with the same result.",
        show_default="the server where it can",
        rich_help_panel=_SEARCH,
    ),
]
Lines = Annotated[int | None, typer.Option(help="Exactly so many lines, 1 to 16.", rich_help_panel=_FORM)]
Rhyme = Annotated[
    str, typer.Option(metavar="SCHEME", help="Which lines rhyme, as AABB or ABCB.", rich_help_panel=_FORM)
]
Acrostic = Annotated[str, typer.Option(metavar="WORD", help="First letters of the lines.", rich_help_panel=_FORM)]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="WORD", help="A word that must come; repeat it for more.", rich_help_panel=_FORM),
]
FirstWords = Annotated[str, typer.Option(metavar="WORDS", help="How the poem begins.", rich_help_panel=_FORM)]


def where_of(value: str | None) -> Where | None:
    """Return the value of ``--where``; the client refuses what it does not know."""
    return value  # type: ignore[return-value]


def form_of(
    lines: int | None, rhyme: str, acrostic: str, include: Sequence[str] | None, first_words: str
) -> Form | None:
    """Return the form that was asked for; None when none was."""
    form = Form(lines=lines, rhyme=rhyme, acrostic=acrostic, include=tuple(include or ()), first_words=first_words)
    return None if form == Form() else form


def strategy_of(
    name: StrategyName,
    width: int | None,
    n: int | None,
    temperature: float | None,
    seed: int | None,
    forbid: Sequence[str] | None,
) -> AnyStrategy:
    """Return the strategy with the options that were given.

    Raises:
        InvalidOption: an option belongs to another strategy, or is outside its range.
    """
    sampling = (StrategyName.sample, StrategyName.best_of)
    options: dict[str, tuple[str, float | None, tuple[StrategyName, ...]]] = {
        "--beam-width": ("width", width, (StrategyName.beam,)),
        "--n": ("n", n, (StrategyName.best_of,)),
        "--temperature": ("temperature", temperature, sampling),
        "--seed": ("seed", seed, sampling),
    }
    given: dict[str, Any] = {"forbidden": tuple(word.lower() for word in forbid or ())}
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
