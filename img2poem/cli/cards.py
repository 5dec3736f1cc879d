"""``card``: typeset a photograph and its poem as one picture."""

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
from .grouped import grouped
from .photographs import Outcomes, given
from .source import Source


@grouped
def card(
    photo: options.Photo,
    out: Annotated[Path, typer.Option(help="PNG file to write; - is standard output.", allow_dash=True)],
    layout: Annotated[
        Layout | None,
        typer.Option(help="Position of the poem.", show_default="below wide photographs, beside others"),
    ] = None,
    poem: analysis.Text = None,
    poem_file: analysis.File = None,
    source: Source = Source(),
    search: options.SearchOne = options.SearchOne(),
    form: options.FormOptions = options.FormOptions(),
) -> None:
    """Typeset a poem on or beside its photograph: a new poem, or a given one. Print it too, unless --out is -."""
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
                strategy, wanted = search.built(), form.built()
                with source.poet() as poet:
                    text = poet.write(data, strategy, form=wanted, where=search.where).text
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
