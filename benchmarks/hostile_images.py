"""Damaged photographs for fuzzing: seeded mutations of intact files of every format."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

_SIDES = 64, 48
#: Boundary values that break code which does not expect them.
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 50_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
#: Beginnings and ends of other file types, for files that are valid as two types.
_STRANGERS = (
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"PK\x03\x04" + bytes(26),
    b"MZ" + bytes(62),
    b"\x7fELF" + bytes(60),
    b"#!/bin/sh\nexit 1\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    b"<?php 1; ?>",
    b"P6 9 9 255\n",
    b"8BPS\0\1" + bytes(20),
    b"\0\0\1\0\1\0" + bytes(16),
    b"BM" + bytes(52),
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0\x08\0\0\0",
    b"RIFF\xff\xff\xff\xffWEBPVP8X",
)


@cache
def seeds() -> tuple[tuple[str, bytes], ...]:
    """Return intact files with their formats: one for each encoding that a decoder has separate code for."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (_SIDES[1], _SIDES[0], 4), np.uint8)
    pixels[8:24] = pixels[8]  # compressible rows
    whole = Image.fromarray(pixels)
    deep = Image.fromarray(generator.integers(0, 65536, _SIDES[::-1], np.uint16))
    rgb, frames = whole.convert("RGB"), [whole.convert("RGB").rotate(turn) for turn in (90, 180)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a caption"
    beside: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": bytes(300), "dpi": (72, 72)}
    animated: dict[str, Any] = {"save_all": True, "append_images": frames}
    made: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("JPEG", rgb, {}),
        ("JPEG", rgb, {"progressive": True, **beside, "comment": b"words"}),
        ("JPEG", rgb, {"restart_marker_blocks": 2, "subsampling": 0}),
        ("JPEG", rgb.convert("L"), {}),
        ("JPEG", rgb.convert("CMYK"), {}),
        ("PNG", rgb, beside),
        *(("PNG", whole.convert(mode), {}) for mode in ("RGBA", "LA", "L", "P", "1")),
        ("PNG", rgb.convert("P"), {"transparency": 3}),
        ("PNG", deep, {}),
        ("PNG", rgb, animated),
        ("GIF", rgb, {}),
        ("GIF", rgb, {**animated, "comment": b"words", "transparency": 3, "loop": 0}),
        ("WEBP", rgb, {**beside, "quality": 60}),
        ("WEBP", whole, {"lossless": True}),
        ("WEBP", whole, {"quality": 60}),
        ("WEBP", whole, {"save_all": True, "append_images": frames}),
        ("AVIF", rgb, {**beside, "quality": 60, "speed": 10}),
        ("AVIF", whole, {"speed": 10}),
        *(("BMP", whole.convert(mode), {}) for mode in ("RGB", "RGBA", "L", "P", "1")),
        *(("TIFF", whole, {"compression": how, **beside}) for how in ("raw", "tiff_lzw", "tiff_adobe_deflate")),
        *(("TIFF", rgb.convert("1"), {"compression": how}) for how in ("group3", "group4", "packbits")),
        ("TIFF", rgb, {"compression": "jpeg"}),
        ("TIFF", rgb.convert("CMYK"), {"compression": "zstd"}),
        ("TIFF", deep, {"compression": "lzma"}),
        ("TIFF", rgb.convert("F"), {}),
        ("TIFF", rgb, {**animated, "big_tiff": True}),
    ]
    found = []
    for format, image, options in made:
        buffer = io.BytesIO()
        with contextlib.suppress(OSError):  # old wheels of Pillow have a libtiff without some compressions
            image.save(buffer, format, **options)
            found.append((format, buffer.getvalue()))
    return tuple(found)


def mutated(number: int, seed: int = 0) -> tuple[str, bytes]:
    """Return the format of the source of file ``number``, and the mutated file; deterministic for a ``seed``."""
    chance = random.Random(f"{seed}:{number}")
    format, whole = seeds()[number % len(seeds())]
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        chance.choice(_MUTATIONS)(data, chance)
    if format == "PNG" and chance.random() < 0.7:
        _repair(data)
    return format, bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Choose a position, more often in the headers."""
    return chance.randrange(min(len(data), chance.choice((64, 1024, len(data)))) or 1)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[_place(data, chance) % len(data)] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random) -> None:
    form = chance.choice(("<H", ">H", "<I", ">I", "B"))
    number = chance.choice(_NUMBERS) % 2 ** (8 * struct.calcsize(form))
    place = _place(data, chance)
    data[place : place + struct.calcsize(form)] = struct.pack(form, number)


def _noise(data: bytearray, chance: random.Random) -> None:
    place, length = _place(data, chance), chance.randrange(1, 64)
    data[place : place + length] = chance.randbytes(length)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    del data[place : place + chance.choice((1, 4, 12, 200))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    place, length = _place(data, chance), chance.choice((1, 12, 200))
    data[place:place] = data[place : place + length] * chance.choice((1, 2, 300))


def _splice(data: bytearray, chance: random.Random) -> None:
    other = chance.choice(seeds())[1]
    begin = chance.randrange(len(other))
    data[_place(data, chance) :] = other[begin:]


def _disguise(data: bytearray, chance: random.Random) -> None:
    stranger = chance.choice(_STRANGERS)
    if chance.random() < 0.5:
        data[:0] = stranger
    else:
        data += stranger


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip, _set, _set, _set),
    *(_noise, _cut, _remove, _repeat, _splice, _disguise),
)


def _repair(data: bytearray) -> None:
    """Correct a PNG's checksums; otherwise decoders reject every mutation there."""
    place = 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
