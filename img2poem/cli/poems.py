"""``write``, ``stream`` and ``batch``: commands that write poems."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ..client.results import Poem
from ..client.shared import raised
from ..decoding.strategies import distinct
from ..images.decode import read_photo
from . import options
from .batch import Batch, Format
from .console import reporting, say, shown, tell
from .photographs import Outcomes, all_given, given
from .source import Source, asks_models


@asks_models
def write(
    photos: options.Photos,
    source: Source = Source(),
    strategy: options.StrategyOption = options.StrategyName.best_of,
    beam_width: options.BeamWidth = None,
    n: options.N = None,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    count: options.Count = 1,
    forbid: options.Forbid = None,
    where: options.WhereOption = None,
    lines: options.Lines = None,
    rhyme: options.Rhyme = "",
    acrostic: options.Acrostic = "",
    include: options.Include = None,
    first_words: options.FirstWords = "",
    as_json: options.AsJson = False,
) -> None:
    """Write a poem about each photograph. Exit status 2 when one has none: it cannot be used, or no poem was found."""
    with reporting():
        decoding = options.strategy_of(strategy, beam_width, n, temperature, seed, forbid)
        form = options.form_of(lines, rhyme, acrostic, include, first_words)
        outcomes = Outcomes()
        with source.poet() as poet:
            poems = poet.write_each(all_given(photos), decoding, count=count, form=form, where=options.where_of(where))
            with closing(poems):
                for photo in photos:
                    with outcomes.of(photo):
                        # All are awaited, so that the next photograph's poems come next.
                        for poem in [raised(poem) for poem in [*islice(poems, count)]]:
                            _print(photo, poem, as_json, len(photos) > 1)
    outcomes.end()


@asks_models
def stream(
    photo: options.Photo,
    source: Source = Source(),
    strategy: options.LineStrategyOption = options.LineStrategyName.sample,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    count: options.Count = 1,
    forbid: options.Forbid = None,
    where: options.WhereOption = None,
    lines: options.Lines = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the lines of a poem as they are written, by sampling or greedy search."""
    with reporting():
        name = options.StrategyName(strategy.value)
        decoding = options.strategy_of(name, None, None, temperature, seed, forbid)
        form = options.form_of(lines, "", "", None, "")
        outcomes = Outcomes()
        with source.poet() as poet, outcomes.of(photo):
            data = read_photo(given(photo))
            for number, one in enumerate(distinct(decoding, count)):
                if number and not as_json:
                    say("")
                for line in poet.stream(data, one, form=form, where=options.where_of(where)):
                    say(json.dumps({"poem": number, **asdict(line)}) if as_json else line.text)
    outcomes.end()


@asks_models
def batch(
    folder: Annotated[Path, typer.Argument(help="Folder whose photographs are taken, with those of its folders.")],
    out: Annotated[Path, typer.Option(help="File that takes the poems; - prints them.", allow_dash=True)],
    format: Annotated[
        Format, typer.Option("--format", help="Of that file: a JSON object a line, or columns for spreadsheets.")
    ] = Format.jsonl,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Photographs under way at once.")] = 8,
    source: Source = Source(),
    strategy: options.StrategyOption = options.StrategyName.best_of,
    beam_width: options.BeamWidth = None,
    n: options.N = None,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    count: options.Count = 1,
    forbid: options.Forbid = None,
    where: options.WhereOption = None,
    lines: options.Lines = None,
    rhyme: options.Rhyme = "",
    acrostic: options.Acrostic = "",
    include: options.Include = None,
    first_words: options.FirstWords = "",
    as_json: options.AsJson = False,
) -> None:
    """Write a poem about every photograph of a folder; run again, also after a kill, it goes on where it was.

    What is hidden and folders @eaDir are left out; links to folders are followed, none twice.

    Photographs that fail are listed in OUT.errors.jsonl and tried again by the next run. Exit status 0 when every
    photograph has its poem, 2 when some have not, 1 when the models could not be reached any more or OUT not be
    written.
    """
    with reporting():
        decoding = options.strategy_of(strategy, beam_width, n, temperature, seed, forbid)
        form = options.form_of(lines, rhyme, acrostic, include, first_words)
        with (
            source.poet(concurrency, background=True) as poet,
            Batch(folder, out, decoding, form, count, format) as work,
        ):
            summary = work.run(poet, options.where_of(where))
    # Where the poems are printed, nothing else may be.
    print_summary = tell if str(out) == "-" else say
    if as_json:
        print_summary(json.dumps(asdict(summary)))
    else:
        print_summary(f"{out}: {summary.written} written, {summary.kept} kept, {summary.failed} failed")
    if summary.failed:
        raise typer.Exit(2)


def _print(photo: str, poem: Poem, as_json: bool, titled: bool) -> None:
    if as_json:
        say(poem.to_json(photo=photo))
    else:
        say((f"{shown(photo)}\n\n" if titled else "") + poem.text + "\n")
