"""What stands in a photograph's file beside its pixels: kept from Pillow where it can be abused, read where needed.

Pillow parses all of it in Python before our limits see a pixel: junk byte by byte, and an EXIF block whose thousands of
entries each point at the same megabytes. So a JPEG goes to it without its metadata, and nothing but the orientation is
read of EXIF; its colour profile is put together here. So does a PNG, which Pillow refuses where a text or a profile
beside the pixels is large, or its checksum wrong. AVIF and HEIC say in their container how they are turned.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import NamedTuple

from ..errors import BadImage
from .colour import MAX_PROFILE

#: More segments than that are no header.
_MAX_SEGMENTS = 10_000
#: Reads of a file that opening and decoding it may take: those of a PNG of 64 MiB in chunks of 4 KiB.
_MAX_READS = 50_000
_LEFT_OUT = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # APP1 (EXIF, XMP) to APP15 but for APP14 (Adobe), comments
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
_SCAN, _END = 0xDA, 0xD9  # of the first scan, of the picture
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.S)
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
#: Of the chunks that a PNG can do without, the one that says which pixels are clear.
_PNG_KEPT = (b"tRNS",)
_GREY, _RGB = 0, 2  # colour types of PNG
#: Of AVIF and HEIC (ISO/IEC 23008-12): an entry of the kind of EXIF or XMP in the list of what the file has.
_ITEM = re.compile(rb"(infe(?:\x02...|\x03.....).{4})(?:Exif|mime)", re.S)
_ENDLESS = "truncated or damaged: its header does not end"
_ORIENTATION = 0x0112
#: Bytes of the types of EXIF that an orientation has: SHORT, and of some programs LONG.
_WHOLE = {3: 2, 4: 4}
_MAX_ENTRIES = 1000


class Metered(io.BytesIO):
    """A file that ends with :class:`BadImage` when it is read too often, or its bytes many times over."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._bytes = _MAX_READS, 0
        #: Bytes that may still be read; none when there is no limit.
        self.left: int | None = 2 * len(data) + 2**20

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as ``io.BytesIO`` does.

        Raises:
            BadImage: enough was read.
        """
        found = super().read(size)
        self._reads -= 1
        if self.left is not None:
            self.left -= len(found)
        if self._reads < 0 or (self.left is not None and self.left < 0):
            raise BadImage(_ENDLESS)
        return found


class Bare(NamedTuple):
    """A file without what is not needed for its pixels, and what is taken of that, under Pillow's names for it."""

    file: bytes
    beside: dict[str, bytes]


def without_metadata(data: bytes) -> Bare:
    """Return a file without what is not needed for its pixels, and of that what is: orientation and colour profile.

    GIF, WebP, BMP and TIFF stay as they are.

    Raises:
        BadImage: its header does not end.
    """
    if data.startswith(_JPEG):
        return _jpeg_without_metadata(data)
    if data.startswith(_PNG):
        return _png_without_metadata(data)
    # What is of an unknown kind, nobody reads.
    return Bare(_ITEM.sub(rb"\1none", data) if data[4:8] == b"ftyp" else data, {})


def _png_without_metadata(png: bytes) -> Bare:
    kept, place = [png[: len(_PNG)]], len(_PNG)
    beside: dict[str, bytes] = {}
    depth, colours = (*png[24:26], 0, 0)[:2]  # of its first chunk
    for _ in range(_MAX_READS):
        length, kind = int.from_bytes(png[place : place + 4], "big"), png[place + 4 : place + 8]
        if len(kind) < 4 or kind == b"IEND":
            return Bare(b"".join([*kept, png[place:]]), beside)
        end = place + 12 + length  # behind length, kind and checksum
        # A small first letter is what the format has for chunks that a picture can do without.
        if kind in _PNG_KEPT:
            kept.append(_as_pillow_compares(png[place:end], depth, colours))
        elif not kind[:1].islower():
            kept.append(png[place:end])
        elif kind == b"eXIf":
            beside.setdefault("exif", png[place + 8 : end - 4])
        elif kind == b"iCCP":
            beside.setdefault("icc_profile", _unpacked(png[place + 8 : end - 4]))
        place = end
    raise BadImage(_ENDLESS)


def _as_pillow_compares(clear: bytes, depth: int, colours: int) -> bytes:
    """Return a chunk tRNS whose value that is clear is scaled as Pillow scales samples, but not the value.

    It makes 8 bits of greyscale of 2 and 4 and of RGB of 16. What is damaged stays so.
    """
    value, checksum = clear[8:-4], clear[-4:]
    if zlib.crc32(clear[4:-4]) != int.from_bytes(checksum, "big"):
        return clear
    if colours == _GREY and depth in (2, 4) and len(value) == 2:
        scaled = struct.pack(">H", value[1] % 2**depth * (255 // (2**depth - 1)))
    elif colours == _RGB and depth == 16 and len(value) == 6:
        scaled = struct.pack(">HHH", *value[::2])
    else:
        return clear
    return clear[:8] + scaled + struct.pack(">I", zlib.crc32(clear[4:8] + scaled))


def _unpacked(chunk: bytes) -> bytes:
    """Return the profile that a chunk ``iCCP`` has behind a name and how it is packed; nothing if damaged."""
    _, _, packed = chunk.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE + 1)
    except zlib.error:
        return b""


def _jpeg_without_metadata(jpeg: bytes) -> Bare:
    kept, place = [jpeg[:2]], 2
    beside: dict[str, bytes] = {}
    profile: list[bytes] = []
    for _ in range(_MAX_SEGMENTS):
        # Junk and fill bytes between segments are skipped, as every decoder does.
        found = _MARKER.search(jpeg, place)
        place, marker = (found.start(), found[0][1]) if found else (len(jpeg), _END)
        if marker in (_SCAN, _END):
            return Bare(b"".join([*kept, jpeg[place:]]), beside | _joined(profile))
        length = 0 if marker in _ALONE else max(2, int.from_bytes(jpeg[place + 2 : place + 4], "big"))
        segment = jpeg[place : place + 2 + length]
        if marker not in _LEFT_OUT:
            kept.append(segment)
        elif segment[4:10] == _EXIF:
            beside.setdefault("exif", segment[10:])
        elif segment[4:16] == _PROFILE:
            profile.append(segment[16:])
        place += 2 + length
    raise BadImage(_ENDLESS)


def _joined(parts: list[bytes]) -> dict[str, bytes]:
    """Return the profile that segments hold, each behind its number and their count; nothing if one is missing."""
    if not 0 < len(parts) < 256:  # both are of one byte
        return {}
    parts = sorted(parts)  # by their numbers, which come first
    whole = all(part[:2] == bytes((number, len(parts))) for number, part in enumerate(parts, 1))
    return {"icc_profile": b"".join(part[2:] for part in parts)} if whole else {}


def orientation(exif: bytes) -> int:
    """Return the orientation, from 1 to 8, that an EXIF block says; 1 where it says none."""
    block = exif.removeprefix(_EXIF)
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    if order is None:
        return 1

    def number(place: int, size: int) -> int:
        return int.from_bytes(block[place : place + size], order)  # type: ignore[arg-type]

    first = number(4, 4)
    for entry in range(first + 2, first + 2 + 12 * min(number(first, 2), _MAX_ENTRIES), 12):
        size = _WHOLE.get(number(entry + 2, 2))
        if number(entry, 2) == _ORIENTATION and size:
            found = number(entry + 8, size)
            return found if 1 <= found <= 8 else 1
    return 1
