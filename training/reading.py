"""Blind reading of poems by several systems: a sheet to mark them on, and a table of the marks.

    python -m training.reading sheet poems.json [more.json ...] --data folder --out sheet.html
    python -m training.reading table marks.json sheet.html.key.json

``poems.json`` is the output of ``training.evaluate --out``, or ``{"SYSTEM": [{"photo": "1.jpg", "poem": "...",
"captions": ["..."]}, ...], ...}``; a photograph is a file, or a name in Flickr8k, MiniPlaces or OASIS. The sheet does
not reveal which system wrote a poem; a separate file, the key, does.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import tyro
from PIL import Image, ImageOps

from img2poem.datasets import BadData, MissingData, photographs
from img2poem.datasets.files import json_of, read_bytes
from img2poem.files.atomic import write_atomically

from .marks import Key, read_marks, table_of
from .run import reporting

_TEMPLATE = Path(__file__).with_name("reading.html")
_PIXELS = 640  # longer side of a photograph on the sheet
# Keys in a row of training.evaluate beside the poems by system.
_FIELDS = ("photo", "captions")
_INSTRUCTIONS = """\
Read each poem beside what the captions say of its photograph, and write a line for it into a file of your own:

    NUMBER FAULT SENSE FIT SHOW

FAULT  y: it has a fault of grammar or a word that does not exist; n: it has none
SENSE  1 (none) to 5 (all of it says something)
FIT    1 (about something else) to 5 (about this photograph)
SHOW   y: you would show it to a friend; n: you would not

such as "12 n 4 5 y".
"""


@dataclass(frozen=True)
class Written:
    """A system's poem about a photograph, which is a file or a name in a collection."""

    system: str
    photo: str
    poem: str
    captions: tuple[str, ...]


def sheet(
    poems: Annotated[tuple[Path, ...], tyro.conf.Positional],
    out: Path,
    data: Path | None = None,
    systems: tuple[str, ...] = (),
    each: int = 50,
    seed: int = 0,
    text: bool = False,
) -> None:
    """Write a sheet for a blind reading of poems, and the key that says which system wrote which poem.

    Args:
        poems: JSON files with the poems.
        out: File of the sheet; the key's name is this with .key.json appended.
        data: Folder of the training data, for photographs that are not files.
        systems: Systems to read; all by default.
        each: Maximum number of poems per system, about the same photographs if possible.
        seed: Seed of the choice and order of the poems.
        text: Write plain text with captions instead of photographs, for readers without a browser.
    """
    chosen = _chosen(_named(list(poems)), systems, each, seed)
    content = _text_sheet(chosen) if text else _html_sheet(chosen, data)
    key = Key(_mark_of(chosen), tuple(written.system for written in chosen))
    key_path = out.with_name(f"{out.name}.key.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    key.write(key_path)
    write_atomically(out, content)
    print(f"{out}: {len(chosen)} poems of {len(set(key.systems))} systems; {key_path} has their systems", flush=True)


def table(marks: Annotated[Path, tyro.conf.Positional], key: Annotated[Path, tyro.conf.Positional]) -> None:
    """Print a table of a sheet's marks, with 95 % intervals.

    Args:
        marks: File saved by the sheet, or lines written by hand.
        key: The sheet's key.
    """
    whose = Key.read(key)
    print(table_of(read_marks(marks, whose), whose), flush=True)


def _named(paths: list[Path]) -> list[Written]:
    """Return the poems in ``paths``; a system that occurs in several files gets the file's name as a prefix."""
    by_file = {path: list(_read(path)) for path in paths}
    homes = defaultdict(set)
    for path, found in by_file.items():
        for written in found:
            homes[written.system].add(path)
    return [
        Written(f"{path.stem}: {w.system}" if len(homes[w.system]) > 1 else w.system, w.photo, w.poem, w.captions)
        for path, found in by_file.items()
        for w in found
    ]


def _read(path: Path) -> Iterator[Written]:
    """Yield the poems in a file of either format.

    Raises:
        BadData: the file has neither format.
    """
    content = json_of(read_bytes(path), path)
    remedy = "give what training.evaluate --out writes, or a list of photo, poem and captions by system"
    if not isinstance(content, dict):
        raise BadData.at(path, "an object is expected", remedy)
    rows = [(name, row) for name, column in content.items() if isinstance(column, list) for row in column]
    if all(name == "poems" and isinstance(row, dict) and "poem" not in row for name, row in rows):
        rows = [(system, {**row, "poem": row[system]}) for _, row in rows for system in row if system not in _FIELDS]
    if not rows:
        raise BadData.at(path, "there are no poems", remedy)
    for number, (system, row) in enumerate(rows, 1):
        texts = (row.get("photo"), row.get("poem")) if isinstance(row, dict) else (None,)
        captions = row.get("captions", []) if isinstance(row, dict) else None
        if not all(isinstance(value, str) and value for value in texts) or not isinstance(captions, list):
            raise BadData.at(path, "a photo and a poem are expected", remedy, f"poem {number}, of {system!r}")
        yield Written(system, row["photo"], row["poem"], tuple(map(str, captions)))


def _chosen(everything: list[Written], systems: tuple[str, ...], each: int, seed: int) -> list[Written]:
    """Return at most ``each`` poems per system, in reading order."""
    if not everything:
        raise ValueError("there are no poems to read: give at least one file that has some")
    known = list(dict.fromkeys(written.system for written in everything))
    if unknown := [system for system in systems if system not in known]:
        raise ValueError(f"no poems by {', '.join(unknown)}: --systems of {', '.join(known)}")
    if each < 1:
        raise ValueError(f"--each must be 1 or more, not {each}")
    draw = random.Random(seed)
    photos = sorted({written.photo for written in everything})
    draw.shuffle(photos)
    rank = {photo: i for i, photo in enumerate(photos)}
    chosen = [
        written
        for system in systems or known
        for written in sorted((w for w in everything if w.system == system), key=lambda w: rank[w.photo])[:each]
    ]
    draw.shuffle(chosen)
    return chosen


def _mark_of(chosen: list[Written]) -> str:
    """Return a short hash of the poems in order; it ties sheet, marks and key together."""
    return hashlib.sha256(json.dumps([(w.photo, w.poem) for w in chosen]).encode()).hexdigest()[:16]


def _text_sheet(chosen: list[Written]) -> str:
    parts = [_INSTRUCTIONS]
    for number, written in enumerate(chosen, 1):
        captions = "".join(f"   {caption}\n" for caption in written.captions or ("(no caption)",))
        poem = "".join(f"      {line}\n" for line in written.poem.splitlines())
        parts.append(f"{number}.\n{captions}\n{poem}")
    return "\n".join(parts)


def _html_sheet(chosen: list[Written], data: Path | None) -> str:
    photos = _photos({written.photo for written in chosen}, data)
    if nothing := [w.photo for w in chosen if w.photo not in photos and not w.captions]:
        raise MissingData(
            f"{nothing[0]} is neither a file nor a photograph in --data, and has no captions: "
            "set --data to the folder of the training data, or add captions to the poems"
        )
    pictures = {photo: _embedded(photo, encoded) for photo, encoded in photos.items()}
    numbers = {photo: number for number, photo in enumerate(pictures)}
    content = {
        "sheet": _mark_of(chosen),
        "photos": list(pictures.values()),
        "poems": [
            {"photo": numbers.get(w.photo), "poem": w.poem, "captions": [] if w.photo in numbers else w.captions}
            for w in chosen
        ],
    }
    # "<" could end the enclosing script element.
    encoded = json.dumps(content).replace("<", "\\u003c")
    return _TEMPLATE.read_text(encoding="utf-8").replace("{{content}}", encoded)


def _photos(wanted: set[str], data: Path | None) -> dict[str, bytes]:
    """Return the encoded photographs that exist: files first, then those of the collections."""
    found = {photo: Path(photo).read_bytes() for photo in wanted if Path(photo).is_file()}
    if data is None or len(found) == len(wanted):
        return found
    collections: Iterator[tuple[str, bytes, Any]] = chain(
        photographs.flickr8k(data),
        photographs.oasis(data),
        photographs.miniplaces(data, "train"),
        photographs.miniplaces(data, "val"),
    )
    for name, encoded, _ in collections:
        if name in wanted and name not in found:
            found[name] = encoded
            if len(found) == len(wanted):
                break
    return found


def _embedded(photo: str, encoded: bytes) -> str:
    """Return a photograph as a data URL."""
    out = io.BytesIO()
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((_PIXELS, _PIXELS))
    except OSError as error:
        raise BadData.at(Path(photo), f"not a photograph: {error}", "give another file or none") from error
    upright.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


if __name__ == "__main__":
    with reporting():
        tyro.extras.subcommand_cli_from_dict({"sheet": sheet, "table": table}, description=__doc__)
