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
from ..decoding.registry import distinct
from ..images.decode import read_photo
from . import options
from .batch import Batch, Format
from .console import reporting, say, shown, tell
from .grouped import grouped
from .photographs import Outcomes, all_given, given
from .source import Source


@grouped
def write(
    photos: options.Photos,
    source: Source = Source(),
    search: options.Search = options.Search(),
    form: options.FormOptions = options.FormOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Write a poem about each photograph. Exit status 2 if a photograph cannot be used or no poem was found for it."""
    with reporting():
        strategy, wanted, count = search.built(), form.built(), search.count
        outcomes = Outcomes()
        with source.poet() as poet:
            poems = poet.write_each(all_given(photos), strategy, count=count, form=wanted, where=search.where)
            with closing(poems):
                for photo in photos:
                    with outcomes.of(photo):
                        # Consume all poems of this photograph before one can raise: then the next photograph's follow.
                        for poem in [raised(poem) for poem in [*islice(poems, count)]]:
                            _print(photo, poem, as_json, len(photos) > 1)
    outcomes.end()


@grouped
def stream(
    photo: options.Photo,
    source: Source = Source(),
    search: options.SearchLines = options.SearchLines(),
    form: options.LineForm = options.LineForm(),
    as_json: options.AsJson = False,
) -> None:
    """Print each line of a poem as soon as it is written, by sampling or greedy search."""
    with reporting():
        strategies, wanted = distinct(search.built(), search.count), form.built()
        outcomes = Outcomes()
        with source.poet() as poet, outcomes.of(photo):
            data = read_photo(given(photo))
            for number, one in enumerate(strategies):
                if number and not as_json:
                    say("")
                for line in poet.stream(data, one, form=wanted, where=search.where):
                    say(json.dumps({"poem": number, **asdict(line)}) if as_json else line.text)
    outcomes.end()


@grouped
def batch(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs, searched recursively.")],
    out: Annotated[Path, typer.Option(help="File of the poems; - is standard output.", allow_dash=True)],
    format: Annotated[
        Format, typer.Option("--format", help="Format of --out: one JSON object per line, or CSV for spreadsheets.")
    ] = Format.jsonl,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Photographs processed at a time.")] = 8,
    source: Source = Source(),
    search: options.Search = options.Search(),
    form: options.FormOptions = options.FormOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Write a poem about every photograph of a folder. The next run resumes an interrupted or killed one.

    Hidden files and folders, and folders named @eaDir, are skipped. Links to folders are followed, but no folder is
    visited twice.

    Photographs that fail are listed in OUT.errors.jsonl, and the next run retries them. Exit status 0 if every
    photograph has its poem, 2 if some have none, 1 if the models became unreachable or OUT cannot be written.
    """
    with reporting():
        strategy, wanted = search.built(), form.built()
        with (
            source.poet(concurrency, background=True) as poet,
            Batch(folder, out, strategy, wanted, search.count, format) as work,
        ):
            summary = work.run(poet, search.where)
    # If the poems go to standard output, the summary goes to standard error.
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
