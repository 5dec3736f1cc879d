"""HEIC, the format of many phones: HEVC pictures in a HEIF file, read by pillow-heif (the extra ``heic``)."""

from __future__ import annotations

import importlib.util
from typing import IO

from PIL import Image

from ..errors import BadImage

#: Brands of files with HEVC pictures (ISO/IEC 23008-12, annex B), and of files with AV1 pictures, which Pillow reads.
_HEVC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_AV1 = (b"avif", b"avis")
#: Bytes at the beginning of a file in which brands are looked for.
_HEAD = 256


def is_heic(data: bytes) -> bool:
    """Whether a file declares itself as HEIC."""
    if data[4:8] != b"ftyp" or data[8:12] in _AV1:
        return False
    end = min(int.from_bytes(data[:4], "big"), _HEAD)
    return any(data[place : place + 4] in _HEVC for place in (8, *range(16, end, 4)))


def is_readable() -> bool:
    """Whether pillow-heif is installed, so that this process can decode HEIC."""
    return importlib.util.find_spec("pillow_heif") is not None


def open_heic(file: IO[bytes]) -> Image.Image:
    """Open a HEIC file as ``Image.open`` does, without registering the format for the whole process.

    Raises:
        BadImage: pillow-heif is not installed.
        SyntaxError: the file is damaged.
    """
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise BadImage(
            "HEIC needs pillow-heif where photographs are decoded, in process or at the server: "
            "pip install 'img2poem[heic]' there, or save the photograph as JPEG"
        ) from None
    return HeifImageFile(file)  # type: ignore[no-untyped-call]
