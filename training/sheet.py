"""Photographs and their poems in one picture, for visual inspection."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from img2poem.files.atomic import write_atomically

_COLUMNS = 5
_PHOTO = (320, 240)  # largest width and height of a photograph
_MARGIN = 12
_FONT_SIZE = 15
_LINE = 19
_INDENT = 24  # of the continuation of a wrapped line


def write_sheet(path: Path, photos: Sequence[bytes], poems: Sequence[str]) -> None:
    """Write a PNG with each photograph above its poem, in rows of five, numbered from 1.

    Args:
        path: the output file.
        photos: encoded photographs.
        poems: one poem per photograph, lines joined by newlines.

    Raises:
        ValueError: there are no photographs, or not as many poems.
    """
    if not photos or len(photos) != len(poems):
        raise ValueError(f"a sheet needs photographs and as many poems, not {len(photos)} and {len(poems)}")
    font = ImageFont.load_default(_FONT_SIZE)
    pictures = [_fitted(photo) for photo in photos]
    texts = [[(0, f"{i}."), *_wrapped(poem, font)] for i, poem in enumerate(poems, 1)]
    heights = [picture.height + _LINE * len(text) for picture, text in zip(pictures, texts, strict=True)]
    rows = [range(i, min(i + _COLUMNS, len(photos))) for i in range(0, len(photos), _COLUMNS)]
    width = _PHOTO[0] + _MARGIN
    # A row's height is that of its longest poem.
    tops = list(accumulate((max(heights[i] for i in row) + 3 * _MARGIN for row in rows), initial=_MARGIN))
    sheet = Image.new("RGB", (width * len(rows[0]) + _MARGIN, tops[-1] - _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for row, top in zip(rows, tops, strict=False):
        for column, i in enumerate(row):
            left = _MARGIN + width * column
            sheet.paste(pictures[i], (left, top))
            for k, (indent, line) in enumerate(texts[i]):
                place = (left + indent, top + pictures[i].height + _MARGIN // 2 + _LINE * k)
                draw.text(place, line, "black" if k else "grey", font)
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    write_atomically(path, encoded.getvalue())


def _fitted(photo: bytes) -> Image.Image:
    with Image.open(io.BytesIO(photo)) as image:
        return ImageOps.contain(ImageOps.exif_transpose(image).convert("RGB"), _PHOTO)


def _wrapped(poem: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Iterator[tuple[int, str]]:
    """Yield lines that fit into a column, with their indents in pixels."""
    for line in poem.splitlines():
        indent, part = 0, ""
        for word in line.split():
            longer = f"{part} {word}".lstrip()
            if part and indent + font.getlength(longer) > _PHOTO[0]:
                yield indent, part
                indent, longer = _INDENT, word
            part = longer
        yield indent, part
