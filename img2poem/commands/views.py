"""``describe``, ``embed`` and ``score``: what the encoders make of photographs and poems."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..console import reporting
from ..errors import InvalidOption
from ..results import Description
from . import options

Text = Annotated[
    str | None, typer.Option("--poem", metavar="TEXT", help="A poem; lines are parted by newlines or slashes.")
]
File = Annotated[
    Path | None, typer.Option("--poem-file", help="A text file with a poem; - reads standard input.", allow_dash=True)
]


def describe(
    photos: options.Photos,
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="Classes of each kind.")] = 3,
    engine: options.Engine = None,
    url: options.Url = None,
    timeout: options.Seconds = 60.0,
    as_json: options.AsJson = False,
) -> None:
    """Say what the encoders see in each photograph: objects, scenes, and the sentiment from 1 to 7."""
    with reporting(), options.poet(engine, url, timeout) as poet:
        for photo in photos:
            seen = poet.describe(photo, k)
            typer.echo(seen.to_json(photo=photo) if as_json else f"{photo}\n{_in_words(seen)}")


def embed(
    photos: Annotated[list[str] | None, typer.Argument(metavar="[PHOTO...]", help="Photographs to embed.")] = None,
    poem: Text = None,
    poem_file: File = None,
    engine: options.Engine = None,
    url: options.Url = None,
    timeout: options.Seconds = 60.0,
    as_json: options.AsJson = False,
) -> None:
    """Print where photographs or a poem lie in the poetic space: unit vectors, one a line."""
    with reporting(), options.poet(engine, url, timeout) as poet:
        text = given_poem(poem, poem_file, needed=not photos)
        vectors = [(photo, poet.embed_image(photo)) for photo in photos or ()]
        vectors += [("poem", poet.embed_poem(text))] if text is not None else []
    for name, vector in vectors:
        numbers = [round(float(value), 6) for value in vector]
        typer.echo(json.dumps({"of": name, "embedding": numbers}) if as_json else " ".join(map(str, numbers)))


def score(
    photos: options.Photos,
    poem: Text = None,
    poem_file: File = None,
    engine: options.Engine = None,
    url: options.Url = None,
    timeout: options.Seconds = 60.0,
    as_json: options.AsJson = False,
) -> None:
    """Say how near a poem is to each photograph: the cosine in the poetic space, from -1 to 1."""
    with reporting(), options.poet(engine, url, timeout) as poet:
        text = given_poem(poem, poem_file, needed=True)
        assert text is not None
        for photo in photos:
            found = poet.score(photo, text)
            typer.echo(json.dumps({"photo": photo, "score": round(found, 6)}) if as_json else f"{found:.3f} {photo}")


def given_poem(text: str | None, path: Path | None, needed: bool) -> str | None:
    """Return the poem of ``--poem`` or ``--poem-file``; None when there is none and none is needed."""
    if text is not None and path is not None:
        raise InvalidOption("give --poem or --poem-file, not both")
    if path is not None:
        try:
            return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InvalidOption(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if text is None and needed:
        raise InvalidOption("a poem is needed: --poem TEXT or --poem-file FILE")
    return text if text is None else "\n".join(line.strip() for line in text.split("/"))


def _in_words(seen: Description) -> str:
    rows = {
        "objects": ", ".join(f"{label.name} {label.probability:.0%}" for label in seen.objects),
        "scenes": ", ".join(f"{label.name} {label.probability:.0%}" for label in seen.scenes),
        "sentiment": f"valence {seen.valence:.1f}, arousal {seen.arousal:.1f}",
    }
    return "".join(f"  {name:10} {value}\n" for name, value in rows.items())
