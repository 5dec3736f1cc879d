"""Small files that expand to much memory or take long to decode, by name: for fuzzing."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from img2poem.images.decode import MAX_BYTES

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
_HUGE = 50_000
_PNG = b"\x89PNG\r\n\x1a\n"


def bombs() -> dict[str, Callable[[], bytes]]:
    """Return a function for each file; some files have 64 MiB."""
    made: dict[str, Callable[[], bytes]] = {}
    for format in _FORMATS:
        for width, height in ((_HUGE, _HUGE), (0, 0), (0, 9), (9, 0), (1, _HUGE)):
            made[f"{format} that declares {width} x {height}"] = _declaring(format, width, height)
        made[f"{format} of 1 x 1"] = lambda format=format: _saved(Image.new("RGB", (1, 1)), format)  # type: ignore[misc]
        made[f"{format} of 1 x 9999"] = lambda format=format: _saved(Image.new("RGB", (1, 9999)), format)  # type: ignore[misc]
    made.update(_largest())
    made.update(_metadata())
    made.update(_endless())
    return made


def _largest() -> dict[str, Callable[[], bytes]]:
    """Return images of the largest size allowed per format that compress very well or are the slowest to decode."""
    plain: list[tuple[str, str, int, dict[str, Any]]] = [
        *(("PNG", mode, 7071, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        ("PNG", "P", 7071, {"transparency": 0}),
        ("PNG", "RGB", 7071, {"transparency": (0, 0, 0)}),
        ("JPEG", "RGB", 10_000, {}),
        ("JPEG", "CMYK", 10_000, {}),
        ("JPEG", "RGB", 7071, {"progressive": True, "subsampling": 0}),
        ("GIF", "P", 7071, {}),
        ("WEBP", "RGB", 4472, {}),
        ("WEBP", "RGBA", 4472, {"lossless": True}),
        ("BMP", "L", 7071, {}),
        *(("TIFF", "RGBA", 7071, {"compression": how}) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
        ("TIFF", "I;16", 7071, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", "F", 7071, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", "CMYK", 7071, {"compression": "tiff_adobe_deflate"}),
    ]
    found = {
        f"{format} {mode} of {side}²{''.join(f', {k} {v}' for k, v in options.items())}": _blank(
            format, mode, side, options
        )
        for format, mode, side, options in plain
    }
    noisy = {"PNG": (7071, "RGBA"), "JPEG": (7071, "RGB"), "WEBP": (4472, "RGB"), "TIFF": (3500, "RGBA")}
    for format, (side, mode) in noisy.items():
        found[f"{format} of noise, {side}²"] = _noisy(format, mode, side)
    found["JPEG of 7071² in 1000 scans"] = lambda: _many_scans(7071, 1000)
    found["JPEG of 900² in 1000 scans"] = lambda: _many_scans(900, 1000)
    return found


def _metadata() -> dict[str, Callable[[], bytes]]:
    body = _png_body()
    return {
        "PNG with a text of 256 MiB in 256 KiB": lambda: _png(("zTXt", b"a\0\0" + _zeros()), *body),
        "PNG with four such, international": lambda: _png(*[("iTXt", b"a\0\1\0\0\0" + _zeros())] * 4, *body),
        "PNG with such a profile": lambda: _png(body[0], ("iCCP", b"a\0\0" + _zeros()), *body[1:]),
        "PNG with EXIF of 16 MiB": lambda: _png(body[0], ("eXIf", _exif_that_points(2**24)), *body[1:]),
        "PNG with 100,000 texts": lambda: _png(body[0], *[("tEXt", b"a\0b")] * 100_000, *body[1:]),
        "JPEG with EXIF that points at itself 5,000 times": lambda: _jpeg_with(b"Exif\0\0" + _exif_that_points(65_000)),
        "JPEG with 200 such segments": lambda: _jpeg_with(*[b"Exif\0\0" + _exif_that_points(65_000)] * 200),
        "JPEG with a profile in 900 segments": lambda: _jpeg_with(*[b"ICC_PROFILE\0\1\1" + bytes(65_000)] * 900, app=2),
        "TIFF with a profile of 50,000 calculations": lambda: _saved(
            Image.new("RGB", (9, 9)), "TIFF", icc_profile=_endless_profile(50_000)
        ),
        "WEBP with EXIF of 16 MiB": lambda: _saved(
            Image.new("RGB", (9, 9)), "WEBP", exif=b"Exif\0\0" + _exif_that_points(2**24)
        ),
        "TIFF of 65,000 entries that point at all of it": lambda: _exif_that_points(2**24, 65_000),
        "TIFF whose next picture is itself": lambda: _looping_tiff(),
        "TIFF of strips that are all the same": lambda: _same_strips(20_000),
    }


@cache
def _zeros() -> bytes:
    return zlib.compress(bytes(2**28), 9)


def _endless() -> dict[str, Callable[[], bytes]]:
    """Return headers that are longer than the largest file allowed."""
    gif = _saved(Image.new("P", (9, 9)), "GIF")
    blocks = b"\xff" + b"c" * 255
    return {
        "JPEG of fill bytes": lambda: b"\xff\xd8\xff" + b"\xff" * (MAX_BYTES - 3),
        "JPEG of junk": lambda: b"\xff\xd8\xff\xfe\0\2" + b"\0" * (MAX_BYTES - 6),
        "JPEG of empty segments": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * (MAX_BYTES // 4 - 1),
        "JPEG of tables": lambda: b"\xff\xd8" + (b"\xff\xdb\0\x43\0" + b"\1" * 64) * (MAX_BYTES // 69 - 1),
        "PNG of empty chunks": lambda: _png(_png_body()[0]) + _chunk("teSt", b"") * (MAX_BYTES // 12 - 4),
        "PNG of pixels in chunks of a byte": lambda: _in_tiny_chunks(1500),
        "PNG of empty chunks of pixels": lambda: _png(_png_body()[0]) + _chunk("IDAT", b"") * (MAX_BYTES // 12 - 4),
        "GIF of comments": lambda: gif[:13] + b"!\xfe\1c\0" * (MAX_BYTES // 5 - 4),
        "GIF of one comment": lambda: gif[:13] + b"!\xfe" + blocks * (MAX_BYTES // 256 - 1),
        "GIF of extensions that do not end": lambda: gif[:13] + b"!\xff" + b"\1a" * (MAX_BYTES // 2 - 8),
        "GIF of frames": lambda: gif[:-1] + gif[gif.index(b",") : -1] * 100_000,
        "WEBP of unknown chunks": lambda: _riff(b"teSt\0\0\0\0" * (MAX_BYTES // 8 - 2)),
        "BMP whose header is as long as can be": lambda: (
            b"BM" + struct.pack("<IIII", MAX_BYTES, 0, 14, MAX_BYTES - 14) + bytes(MAX_BYTES - 18)
        ),
    }


def _blank(format: str, mode: str, side: int, options: dict[str, Any]) -> Callable[[], bytes]:
    def make() -> bytes:
        if mode == "I;16":
            return _saved(Image.fromarray(np.zeros((side, side), np.uint16)), format, **options)
        image = Image.new(mode, (side, side))
        if mode == "P":
            image.putpalette(bytes(768))
        return _saved(image, format, **options)

    return make


def _noisy(format: str, mode: str, side: int) -> Callable[[], bytes]:
    def make() -> bytes:
        tile = np.random.default_rng(0).integers(0, 256, (500, 500, len(mode)), np.uint8)
        times = -(-side // 500)
        pixels = np.tile(tile, (times, times, 1))[:side, :side]
        options: dict[str, dict[str, Any]] = {
            "PNG": {"compress_level": 1},
            "TIFF": {"compression": "tiff_lzw"},
            "JPEG": {"progressive": True},
        }
        return _saved(Image.fromarray(pixels), format, **options.get(format, {}))

    return make


def _many_scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated ``scans`` times."""
    whole = _saved(Image.new("L", (side, side), 77), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * scans + whole[-2:]


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _declaring(format: str, width: int, height: int) -> Callable[[], bytes]:
    """Return a function that writes another size into the header of a small image."""

    def make() -> bytes:
        data = bytearray(_saved(Image.new("RGB", (9, 9)), format))
        if format == "JPEG":
            place = data.index(b"\xff\xc0") + 5
            data[place : place + 4] = struct.pack(">HH", height, width)
        elif format == "PNG":
            return _png(("IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *_png_body()[1:])
        elif format == "GIF":
            for place in (6, data.index(b",") + 5):
                data[place : place + 4] = struct.pack("<HH", width, height)
        elif format == "WEBP":
            sides = (max(side - 1, 0).to_bytes(3, "little") for side in (width, height))
            return _riff(b"VP8X\x0a\0\0\0\0\0\0\0" + b"".join(sides) + bytes(data[12:]))
        elif format == "AVIF":
            place = data.index(b"ispe") + 8
            data[place : place + 8] = struct.pack(">II", width, height)
        elif format == "BMP":
            data[18:26] = struct.pack("<ii", width, height)
        else:
            data = _with_tags(data, {256: width, 257: height})
        return bytes(data)

    return make


def _with_tags(tiff: bytearray, values: dict[int, int]) -> bytearray:
    """Replace values in the first directory of a little-endian TIFF."""
    [first] = struct.unpack_from("<I", tiff, 4)
    [count] = struct.unpack_from("<H", tiff, first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        [tag] = struct.unpack_from("<H", tiff, entry)
        if tag in values:
            struct.pack_into("<HII", tiff, entry + 2, 4, 1, values[tag])
    return tiff


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _chunk(kind: str, data: bytes) -> bytes:
    body = kind.encode() + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _png(*chunks: tuple[str, bytes]) -> bytes:
    return _PNG + b"".join(_chunk(*chunk) for chunk in chunks)


def _png_body(side: int = 9) -> list[tuple[str, bytes]]:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return [("IHDR", header), ("IDAT", zlib.compress(bytes((3 * side + 1) * side))), ("IEND", b"")]


def _in_tiny_chunks(side: int) -> bytes:
    header, (_, pixels), end = _png_body(side)
    raw = zlib.compress(bytes((3 * side + 1) * side), 0)
    assert len(pixels) < len(raw)
    return _png(header, *(("IDAT", raw[i : i + 1]) for i in range(min(len(raw), MAX_BYTES // 14))), end)


def _exif_that_points(size: int, entries: int | None = None) -> bytes:
    """Return a TIFF block of ``size`` bytes with entries that each claim its whole length."""
    count = min(entries or (size - 14) // 12, 65_000)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", count)
    rows = b"".join(struct.pack("<HHII", 0x8000 + i % 0x7FFF, 7, size, 0) for i in range(count))
    return (head + rows + bytes(4)).ljust(size, b"\0")


def _endless_profile(count: int) -> bytes:
    """Return an ICC profile that transforms colours by ``count`` matrices (ICC.1:2010, multiProcessElementsType)."""
    matrix = struct.pack(">4s4xHH12f", b"matf", 3, 3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    head = struct.pack(">4s4xHHI", b"mpet", 3, 3, count)
    tag = head + struct.pack(">II", len(head) + 8 * count, len(matrix)) * count + matrix
    size = 128 + 4 + 24 + len(tag)
    first = struct.pack(
        ">I4x4s4s4s4s12x4s28x3i", size, b"\4\x20\0\0", b"mntr", b"RGB ", b"XYZ ", b"acsp", 63190, 65536, 54061
    )
    table = b"".join(struct.pack(">4sII", name, 156, len(tag)) for name in (b"A2B0", b"D2B1"))
    return first.ljust(128, b"\0") + struct.pack(">I", 2) + table + tag


def _jpeg_with(*segments: bytes, app: int = 1) -> bytes:
    whole = _saved(Image.new("RGB", (9, 9)), "JPEG")
    # Drop JFIF: otherwise Pillow takes its resolution and does not parse EXIF.
    start = 4 + int.from_bytes(whole[4:6], "big")
    made: Iterator[bytes] = (bytes([0xFF, 0xE0 + app]) + struct.pack(">H", len(s) + 2) + s for s in segments)
    return whole[:2] + b"".join(made) + whole[start:]


def _looping_tiff() -> bytes:
    data = bytearray(_saved(Image.new("RGB", (9, 9)), "TIFF"))
    [first] = struct.unpack_from("<I", data, 4)
    [count] = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    return bytes(data)


def _same_strips(rows: int) -> bytes:
    """Return a raw TIFF of one-pixel rows: each is a separate strip, and all strips have the same offset."""
    tags = {256: 1, 257: rows, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    end = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries.insert(5, struct.pack("<HHII", 273, 4, rows, end))
    entries.append(struct.pack("<HHII", 279, 4, rows, end + 4 * rows))
    body = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return body + struct.pack("<I", 8) * rows + struct.pack("<I", 1) * rows + bytes(2**20)
