"""``describe``, ``embed`` and ``score``: commands that run only the encoders."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..client.operations import Floats
from ..client.results import Description
from ..errors import InvalidOption
from ..files.reading import limited, read_limited
from . import options
from .console import reporting, say, shown
from .grouped import grouped
from .photographs import Outcomes, all_given
from .source import Source

Text = Annotated[
    str | None, typer.Option("--poem", metavar="TEXT", help="A poem; newlines or slashes separate its lines.")
]
File = Annotated[
    Path | None, typer.Option("--poem-file", help="A text file with a poem; - reads standard input.", allow_dash=True)
]


@grouped
def describe(
    photos: options.Photos,
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="Number of classes of each kind.")] = 3,
    source: Source = Source(),
    as_json: options.AsJson = False,
) -> None:
    """Print what each photograph shows: the most probable objects and scenes, and valence and arousal from 1 to 7.

    Photographs that cannot be used are skipped; the exit status is then 2.
    """
    outcomes = Outcomes()
    with reporting(), source.poet() as poet:
        for photo, data in zip(photos, all_given(photos), strict=True):
            with outcomes.of(photo):
                seen = poet.describe(data, k)
                say(seen.to_json(photo=photo) if as_json else f"{shown(photo)}\n{_in_words(seen)}")
    outcomes.end()


@grouped
def embed(
    photos: Annotated[list[str] | None, typer.Argument(metavar="[PHOTO...]", help="Photographs to embed.")] = None,
    poem: Text = None,
    poem_file: File = None,
    source: Source = Source(),
    as_json: options.AsJson = False,
) -> None:
    """Print the embeddings of photographs or a poem in the poetic space: one unit vector per line.

    Photographs that cannot be used are skipped; the exit status is then 2.
    """
    outcomes = Outcomes()
    with reporting(), source.poet() as poet:
        text = given_poem(poem, poem_file, needed=not photos)
        for photo, data in zip(photos or (), all_given(photos or []), strict=True):
            with outcomes.of(photo):
                _print_vector(photo, poet.embed_image(data), as_json)
        if text is not None:
            _print_vector("poem", poet.embed_poem(text), as_json)
    outcomes.end()


@grouped
def score(
    photos: options.Photos,
    poem: Text = None,
    poem_file: File = None,
    source: Source = Source(),
    as_json: options.AsJson = False,
) -> None:
    """Print the cosine similarity of a poem and each photograph in the poetic space, from -1 to 1.

    Photographs that cannot be used are skipped; the exit status is then 2.
    """
    outcomes = Outcomes()
    with reporting(), source.poet() as poet:
        text = given_poem(poem, poem_file, needed=True)
        assert text is not None
        for photo, data in zip(photos, all_given(photos), strict=True):
            with outcomes.of(photo):
                found = poet.score(data, text)
                say(
                    json.dumps({"photo": photo, "score": round(found, 6)}) if as_json else f"{found:.3f} {shown(photo)}"
                )
    outcomes.end()


def given_poem(text: str | None, path: Path | None, needed: bool) -> str | None:
    """Return the poem of ``--poem`` or ``--poem-file``, or None if neither is given and ``needed`` is false.

    Raises:
        InvalidOption: both are given, a needed poem is missing, or the poem cannot be read or is not UTF-8.
    """
    if text is not None and path is not None:
        raise InvalidOption("give --poem or --poem-file, not both")
    if path is not None:
        return _read_poem(path)
    if text is None and needed:
        raise InvalidOption("a poem is needed: --poem TEXT or --poem-file FILE")
    if text is not None and any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidOption("--poem is not UTF-8")
    return text if text is None else "\n".join(line.strip() for line in text.split("/"))


def _read_poem(path: Path) -> str:
    try:
        if str(path) != "-":
            data = read_limited(path)
        elif sys.stdin is None:
            raise InvalidOption("standard input is closed: there is no poem to read")
        else:
            data = limited(sys.stdin.buffer)
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise InvalidOption(f"{path} is not a text in UTF-8") from None
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _print_vector(name: str, vector: Floats, as_json: bool) -> None:
    numbers = [round(float(value), 6) for value in vector]
    say(json.dumps({"of": name, "embedding": numbers}) if as_json else " ".join(map(str, numbers)))


def _in_words(seen: Description) -> str:
    rows = {
        "objects": ", ".join(f"{label.name} {label.probability:.0%}" for label in seen.objects),
        "scenes": ", ".join(f"{label.name} {label.probability:.0%}" for label in seen.scenes),
        "sentiment": f"valence {seen.valence:.1f}, arousal {seen.arousal:.1f}",
    }
    return "".join(f"  {name:10} {value}\n" for name, value in rows.items())
