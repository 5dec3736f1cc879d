"""Cards: a photograph and its poem, typeset as one picture.

The typeface is EB Garamond (SIL Open Font License 1.1), from the package ``fontpkg-eb-garamond``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from ..errors import InvalidOption, MissingDependency
from .decode import Photo, picture, read_photo

#: Most lines of a card, and most characters per line.
MAX_LINES, MAX_CHARACTERS = 32, 200

#: Surrogates of UTF-16, which are not characters.
_HALVES = frozenset(map(chr, range(0xD800, 0xE000)))

Floats = NDArray[np.float32]

#: Value of the PNG text ``Software`` by which :func:`is_card` recognises a card.
_SOFTWARE = "img2poem"
_PAPER, _INK, _WHITE = (250, 247, 240), (38, 34, 30), (255, 253, 248)
_MARGIN = 96
_PHOTO, _OVER = 1200, 1600  # longer side of the photograph in pixels; the second for the layout ``over``
_PANEL = 720  # widest text beside a photograph, in pixels
_SMALLEST, _LARGEST = 26, 52  # font size in pixels
_LEADING = 1.52
#: Largest scale of a small photograph; larger ones look blurred.
_ENLARGED = 4.0
#: Longest side in pixels of the photograph; under ``over``, longer panoramas are cropped to their middle.
_LONGEST = 4000
#: How much the photograph is darkened under white type: legible on a white photograph too (contrast 6 to 1).
_SHADE = 0.62


class Layout(str, Enum):
    """Position of the poem relative to the photograph."""

    beside = "beside"
    over = "over"
    below = "below"


@dataclass(frozen=True)
class _Text:
    """Lines, wrapped if too long, and the font with which they fit."""

    lines: tuple[str, ...]
    font: ImageFont.FreeTypeFont

    @property
    def leading(self) -> int:
        return round(self.font.size * _LEADING)

    @property
    def width(self) -> int:
        return max(round(self.font.getlength(line)) for line in self.lines)

    @property
    def height(self) -> int:
        return self.leading * len(self.lines)


def card(photo: Photo, lines: Sequence[str], layout: Layout | None = None) -> bytes:
    """Return a PNG file of ``photo`` and the poem; the file has the poem's text as metadata (``Description``).

    Args:
        photo: one photograph, shown upright and whole. It is enlarged at most four times. Under ``over`` it may be
            enlarged further, and panoramas are cropped.
        lines: the poem.
        layout: ``beside``, ``below`` or ``over`` the photograph; by default ``below`` wide photographs, ``beside``
            others.

    Raises:
        BadImage: the photograph cannot be used.
        InvalidOption: there is no line, there are more than 32, a line has more than 200 characters, or the typeface
            lacks a character.
        MissingDependency: the typeface is not installed.
    """
    lines = [" ".join(line.split()) for line in lines]
    if not 1 <= len(lines) <= MAX_LINES or not any(lines) or max(map(len, lines)) > MAX_CHARACTERS:
        raise InvalidOption(f"a card takes 1 to {MAX_LINES} lines of up to {MAX_CHARACTERS} characters")
    if lacking := _lacking("".join(lines)):
        raise InvalidOption(f"the typeface of cards has no {' '.join(lacking[:8])}; leave out these characters")
    image = picture(read_photo(photo), _LONGEST)
    if layout is None:
        layout = Layout.below if image.width > 1.4 * image.height else Layout.beside
    drawn = {Layout.beside: _beside, Layout.below: _below, Layout.over: _over}[layout](image, lines)
    told, file = PngInfo(), io.BytesIO()
    told.add_itxt("Description", "\n".join(lines))
    told.add_text("Software", _SOFTWARE)
    drawn.save(file, "PNG", pnginfo=told)
    return file.getvalue()


def is_card(path: Path) -> bool:
    """Whether a file is a card that img2poem made, and may thus be replaced."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Software") == _SOFTWARE
    except Exception:  # Pillow raises a dozen types on other files
        return False


def _beside(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    image = _scaled(image)
    text = _set(lines, _PANEL, max(image.height, 2 * _PHOTO // 3))
    height = max(image.height, text.height)
    sheet = Image.new("RGB", (image.width + text.width + 3 * _MARGIN, height + 2 * _MARGIN), _PAPER)
    sheet.paste(image, (_MARGIN, _MARGIN + (height - image.height) // 2))
    _write(sheet, text, (image.width + 2 * _MARGIN, _MARGIN + (height - text.height) // 2), _INK)
    return sheet


def _below(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    image = _scaled(image)
    text = _set(lines, max(image.width, _PANEL), _PHOTO)
    width = max(image.width, text.width)
    height = image.height + text.height + 2 * _MARGIN + 2 * _MARGIN // 3
    sheet = Image.new("RGB", (width + 2 * _MARGIN, height), _PAPER)
    sheet.paste(image, (_MARGIN + (width - image.width) // 2, _MARGIN))
    _write(sheet, text, (_MARGIN + (width - text.width) // 2, image.height + _MARGIN + 2 * _MARGIN // 3), _INK)
    return sheet


def _over(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    image, margin = _scaled(image, longest=_OVER, enlarged=_LONGEST), 3 * _MARGIN // 4
    text = _set(lines, max(image.width * 3 // 4, _PANEL), max(image.height * 3 // 5, _PHOTO // 3))
    # Enlarge the photograph until the poem fits on it.
    room = (text.width + 2 * margin, text.height + 2 * margin)
    scale = max(1.0, room[0] / image.width, room[1] / image.height)
    width, height = (min(round(side * scale), _LONGEST) for side in image.size)
    image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    shaded = _shaded(image, room[1])
    _write(shaded, text, (margin, image.height - margin - text.height), _WHITE)
    return shaded


def _scaled(image: Image.Image, longest: int = _PHOTO, enlarged: float = _ENLARGED) -> Image.Image:
    scale = min(longest / max(image.size), enlarged)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _shaded(image: Image.Image, height: int) -> Image.Image:
    """Darken the lowest ``height`` pixels, and gradually less the pixels above them.

    The shade covers the full width: under the poem alone, its edge would show in a bright sky.
    """
    shade = _SHADE * _falling(np.arange(image.height, 0, -1, dtype=np.float32) / height)[:, None, None]
    return Image.fromarray((np.asarray(image, np.float32) * (1 - shade)).astype(np.uint8))


def _falling(distance: Floats) -> Floats:
    """Return 1 up to a distance of 0.95 and 0 from 2.1 on, with a smooth transition between."""
    rise = np.clip((2.1 - distance) / 1.15, 0, 1)
    return rise * rise * (3 - 2 * rise)


def _set(lines: Sequence[str], width: int, height: int) -> _Text:
    """Choose the largest font size that fits; at the smallest one, wrap long lines."""
    for size in range(_LARGEST, _SMALLEST - 1, -2):
        text = _Text(tuple(lines), _type(size))
        if text.width <= width and text.height <= height:
            return text
    return _Text(tuple(part for line in lines for part in _broken(line, width, text.font)), text.font)


def _broken(line: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    parts = [""]
    for word in line.split():
        # A word longer than the line is broken between any characters.
        while font.getlength(word) > width:
            fits = max(1, int(len(word) * width / font.getlength(word)) - 1)
            parts, word = [*parts, word[:fits]], word[fits:]
        longer = f"{parts[-1]} {word}".strip() if parts[-1].strip() else parts[-1] + word
        parts = [*parts[:-1], longer] if font.getlength(longer) <= width else [*parts, "    " + word]
    return [part for part in parts if part] or [""]


def _write(sheet: Image.Image, text: _Text, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(sheet)
    for i, line in enumerate(text.lines):
        baseline = at[1] + text.leading * i + round(text.leading * 0.7)
        draw.text((at[0], baseline), line, colour, text.font, anchor="ls")


def _lacking(text: str) -> list[str]:
    """Return the characters that the typeface would draw as a box."""
    box = _shape("\uffff")  # no typeface has this character
    return sorted(c for c in {*text} if not c.isspace() and (c in _HALVES or _shape(c) == box))


def _shape(character: str) -> tuple[tuple[int, int], bytes]:
    mask = _type(_SMALLEST).getmask(character)
    return mask.size, bytes(mask)


@cache
def _type(size: int) -> ImageFont.FreeTypeFont:
    try:
        import fontpkg

        return ImageFont.truetype(fontpkg.path("EB Garamond"), size)
    except ImportError:
        raise MissingDependency("cards need a typeface; pip install 'img2poem[card]'") from None
