"""Photographs with their poems on one picture, for the eye."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from img2poem.datasets.files import write_atomically

_COLUMNS = 5
_PHOTO = (320, 240)  # width and height that a photograph is fitted into
_MARGIN = 12
_FONT_SIZE = 15
_LINE = 19
_CHARACTERS = 42  # of a line in its column


def write_sheet(path: Path, photos: Sequence[bytes], poems: Sequence[str]) -> None:
    """Write a PNG with each photograph and its poem below, in rows of five, numbered from 1.

    Args:
        path: file to write.
        photos: encoded files, as many as ``poems``.
        poems: lines joined by newlines.

    Raises:
        ValueError: there is nothing to show, or not as many poems as photographs.
    """
    if not photos or len(photos) != len(poems):
        raise ValueError(f"a sheet needs photographs and as many poems, not {len(photos)} and {len(poems)}")
    texts = ["\n".join([f"{i}.", *map(_wrapped, poem.splitlines())]) for i, poem in enumerate(poems, 1)]
    width = _PHOTO[0] + _MARGIN
    height = _PHOTO[1] + _LINE * max(text.count("\n") + 1 for text in texts) + 2 * _MARGIN
    rows = -(-len(photos) // _COLUMNS)
    sheet = Image.new("RGB", (width * min(_COLUMNS, len(photos)) + _MARGIN, height * rows + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for i, (photo, text) in enumerate(zip(photos, texts, strict=True)):
        x, y = _MARGIN + width * (i % _COLUMNS), _MARGIN + height * (i // _COLUMNS)
        with Image.open(io.BytesIO(photo)) as image:
            sheet.paste(ImageOps.contain(ImageOps.exif_transpose(image).convert("RGB"), _PHOTO), (x, y))
        for k, line in enumerate(text.splitlines()):
            draw.text((x, y + _PHOTO[1] + _MARGIN // 2 + _LINE * k), line, "black", font)
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    write_atomically(path, encoded.getvalue())


def _wrapped(line: str) -> str:
    return "\n".join(textwrap.wrap(line, _CHARACTERS, subsequent_indent="    "))
