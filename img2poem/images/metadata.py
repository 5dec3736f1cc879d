"""Removes metadata from a photograph's file before Pillow reads it; extracts orientation and colour profile.

Pillow parses metadata in Python before our limits apply: junk byte by byte, and EXIF blocks whose thousands of entries
all point to the same megabytes. So Pillow gets a JPEG without its metadata. Of EXIF, only the orientation is read, and
the colour profile is assembled here. PNG is treated in the same way: Pillow refuses files in which a text or profile is
large or has a wrong checksum. AVIF and HEIC declare their orientation in the container.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import NamedTuple

from ..errors import BadImage
from .colour import MAX_PROFILE

#: Most segments of a JPEG's header.
_MAX_SEGMENTS = 10_000
#: Most reads of a file while it is opened and decoded: enough for a PNG of 64 MiB in chunks of 4 KiB.
_MAX_READS = 50_000
_LEFT_OUT = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # APP1 (EXIF, XMP) to APP15 except APP14 (Adobe); comments
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
_SCAN, _END = 0xDA, 0xD9  # markers: start of scan, end of image
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.S)
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
#: The ancillary PNG chunk that is kept: it declares transparency.
_PNG_KEPT = (b"tRNS",)
_GREY, _RGB = 0, 2  # colour types of PNG
#: In AVIF and HEIC (ISO/IEC 23008-12): an entry of type EXIF or XMP in the list of items.
_ITEM = re.compile(rb"(infe(?:\x02...|\x03.....).{4})(?:Exif|mime)", re.S)
_ENDLESS = "truncated or damaged: its header does not end"
_ORIENTATION = 0x0112
#: Size in bytes of the EXIF types that an orientation may have: SHORT, or LONG from some programs.
_WHOLE = {3: 2, 4: 4}
_MAX_ENTRIES = 1000


class Metered(io.BytesIO):
    """A file object that raises :class:`BadImage` after too many reads, or too many bytes read in total."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._bytes = _MAX_READS, 0
        #: Bytes that may still be read; None for no limit.
        self.left: int | None = 2 * len(data) + 2**20

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as ``io.BytesIO`` does.

        Raises:
            BadImage: the limit of reads or bytes is exceeded.
        """
        found = super().read(size)
        self._reads -= 1
        if self.left is not None:
            self.left -= len(found)
        if self._reads < 0 or (self.left is not None and self.left < 0):
            raise BadImage(_ENDLESS)
        return found


class Bare(NamedTuple):
    """A file without its metadata, and the extracted metadata under Pillow's names (``exif``, ``icc_profile``)."""

    file: bytes
    beside: dict[str, bytes]


def without_metadata(data: bytes) -> Bare:
    """Remove metadata from a JPEG, PNG, AVIF or HEIC file; of JPEG and PNG, extract EXIF and colour profile.

    GIF, WebP, BMP and TIFF files are returned unchanged.

    Raises:
        BadImage: the file's header does not end.
    """
    if data.startswith(_JPEG):
        return _jpeg_without_metadata(data)
    if data.startswith(_PNG):
        return _png_without_metadata(data)
    # Readers ignore items of an unknown type.
    return Bare(_ITEM.sub(rb"\1none", data) if data[4:8] == b"ftyp" else data, {})


def _png_without_metadata(png: bytes) -> Bare:
    kept, place = [png[: len(_PNG)]], len(_PNG)
    beside: dict[str, bytes] = {}
    depth, colours = (*png[24:26], 0, 0)[:2]  # from the first chunk
    for _ in range(_MAX_READS):
        length, kind = int.from_bytes(png[place : place + 4], "big"), png[place + 4 : place + 8]
        if len(kind) < 4 or kind == b"IEND":
            return Bare(b"".join([*kept, png[place:]]), beside)
        end = place + 12 + length  # length, type and checksum take 12 bytes
        # A lower-case first letter marks an ancillary chunk, which decoding does not need.
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
    """Return a tRNS chunk with its transparent value scaled to 8 bits.

    Pillow scales the samples of 2- and 4-bit greyscale and of 16-bit RGB to 8 bits, but not this value. A damaged chunk
    is returned unchanged.
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
    """Return the profile in an ``iCCP`` chunk, after its name and compression method; empty if it is damaged."""
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
    """Join the segments of a profile, each of which begins with its number and their count; empty if one is missing."""
    if not 0 < len(parts) < 256:  # number and count are one byte each
        return {}
    parts = sorted(parts)  # by number, the first byte
    whole = all(part[:2] == bytes((number, len(parts))) for number, part in enumerate(parts, 1))
    return {"icc_profile": b"".join(part[2:] for part in parts)} if whole else {}


def orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, from 1 to 8; 1 if it has none."""
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
