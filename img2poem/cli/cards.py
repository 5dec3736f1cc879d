"""``card``: a photograph and its poem on one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidOption, WriteFailed
from ..files.atomic import write_atomically
from ..files.outputs import check_output
from ..images.card import Layout, is_card
from ..images.card import card as drawn
from ..images.decode import read_photo
from . import analysis, options
from .console import reporting, say, say_bytes
from .photographs import Outcomes, given
from .source import Source, asks_models


@asks_models
def card(
    photo: options.Photo,
    out: Annotated[Path, typer.Option(help="PNG file to write; - prints it, and not the poem.", allow_dash=True)],
    layout: Annotated[
        Layout | None,
        typer.Option(help="Where the poem stands.", show_default="below wide photographs, beside others"),
    ] = None,
    poem: analysis.Text = None,
    poem_file: analysis.File = None,
    source: Source = Source(),
    strategy: options.StrategyOption = options.StrategyName.best_of,
    beam_width: options.BeamWidth = None,
    n: options.N = None,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    forbid: options.Forbid = None,
    where: options.WhereOption = None,
    lines: options.Lines = None,
    rhyme: options.Rhyme = "",
    acrostic: options.Acrostic = "",
    include: options.Include = None,
    first_words: options.FirstWords = "",
) -> None:
    """Typeset a poem on or beside its photograph: a new one, or the one that is given. It is printed too."""
    with reporting():
        printed = str(out) == "-"
        if not printed and out.suffix.lower() != ".png":
            raise InvalidOption(f"a card is a PNG file; name it {out.with_suffix('.png')}")
        if not printed and check_output(out, [photo]) and not is_card(out):
            raise InvalidOption(f"{out} holds something else than a card; name another file")
        text = analysis.given_poem(poem, poem_file, needed=False)
        outcomes = Outcomes()
        with outcomes.of(photo):
            data = read_photo(given(photo))
            if text is None:
                decoding = options.strategy_of(strategy, beam_width, n, temperature, seed, forbid)
                form = options.form_of(lines, rhyme, acrostic, include, first_words)
                with source.poet() as poet:
                    text = poet.write(data, decoding, form=form, where=options.where_of(where)).text
            picture = drawn(data, text.strip().splitlines(), layout)
            if printed:
                say_bytes(picture)
                return
            try:
                write_atomically(out, picture)
            except OSError as error:
                raise WriteFailed(f"{out} cannot be written: {error.strerror}") from None
            say(text)
    outcomes.end()
