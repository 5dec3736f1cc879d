"""Decodes photographs to pixels: the preprocessing that training, export, client and server share.

The result is ``uint8 [size, size, 3]``, sRGB. The exported graph normalises it by mean and standard deviation. The
picture is stretched to a square, not cropped: the whole scene stays visible, and the training copies of Flickr8k have
lost their aspect ratio anyway.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import BadImage
from .colour import keeps_mode, to_srgb
from .heic import is_heic, is_readable, open_heic
from .metadata import Metered, orientation, without_metadata
from .quiet import quiet
from .reduce import reduced, to_rgb, white_of

#: The only formats that are opened; Pillow's other decoders are never used.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIC")
#: File name extensions of these formats, in lower case.
SUFFIXES = tuple(".jpg .jpeg .jfif .png .gif .webp .bmp .tif .tiff .avif .heic .heif".split())
_PILLOWS = FORMATS[:-1]
#: First bytes of formats whose signature is long enough to identify them.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
#: Signatures of AVIF, after the four bytes of the first box's length.
_AVIF = (b"ftypavif", b"ftypavis")
#: Largest accepted picture in pixels, as its header declares them (8000 x 6000 are 48 M). Formats that take longer to
#: decode have lower limits: each stays below 2 s and 512 MiB (docs/reliability.md).
MAX_PIXELS = 100_000_000
_MAX_PIXELS_OF = {"JPEG": MAX_PIXELS, "WEBP": 20_000_000, "AVIF": 20_000_000}
_MAX_PIXELS_ELSE = 50_000_000
#: Largest product of pixels and scans of a JPEG: each scan of a progressive one covers all pixels.
_MAX_SCANNED = 500_000_000
_SCAN = b"\xff\xda"
#: Largest accepted file, in bytes.
MAX_BYTES = 64 * 2**20

SIZE = 224
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.I)
#: Pillow's modes that PNG stores without conversion.
_LOSSLESS = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
#: Transposition for each EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Readable(Protocol):
    """A file object in binary mode."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes."""


#: A photograph as callers pass it: a path, the bytes of an encoded file, a binary file object, a Pillow image, or
#: pixels uint8 ``[height, width, 3]`` in RGB. URLs are not accepted: nothing is fetched from the network.
Photo = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Image.Image | NDArray[np.uint8]


def is_photo(value: object) -> bool:
    """Whether ``value`` is one photograph rather than an iterable of several."""
    single = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
    return isinstance(value, single) or hasattr(value, "read") or not isinstance(value, Iterable)


def read_photo(photo: Photo) -> bytes:
    """Return the encoded bytes of a photograph; Pillow images and pixels are encoded losslessly.

    Raises:
        BadImage: the file is missing, a folder, unreadable, empty, or larger than ``MAX_BYTES``; a file object does
            not return bytes; an array does not hold pixels; or ``photo`` is not a ``Photo``.
    """
    if isinstance(photo, bytes | bytearray | memoryview):
        data = bytes(photo)
    elif isinstance(photo, Image.Image):
        data = _encoded(photo)
    elif isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise BadImage(f"pixels must be uint8 [height, width, 3], not {photo.dtype} {list(photo.shape)}")
        data = _encoded(Image.fromarray(photo))
    elif isinstance(photo, str | os.PathLike):
        data = _read_path(os.fsdecode(photo))
    else:
        data = _read(photo)
    if not data:
        raise BadImage("the file is empty")
    if len(data) > MAX_BYTES:
        raise BadImage(_too_many_bytes(len(data)))
    return data


def _read_path(path: str) -> bytes:
    if not path:
        raise BadImage("no such file: its name is empty")
    try:
        if os.path.isdir(path):
            raise BadImage("is a folder, not a photograph")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size  # 0 for devices and pipes, which may be endless
            if size > MAX_BYTES:
                raise BadImage(_too_many_bytes(size))
            return _read(file)
    except FileNotFoundError:
        if _ADDRESS.match(path):
            raise BadImage(
                "is an address; photographs are not fetched from the network, give the file's path or bytes"
            ) from None
        raise BadImage("no such file") from None
    except (OSError, ValueError) as error:
        raise BadImage(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _read(file: Readable) -> bytes:
    data = bytearray()
    try:
        # One read of a pipe, a socket or an unbuffered file may return less than the whole content.
        while len(data) <= MAX_BYTES:
            part = file.read(MAX_BYTES + 1 - len(data))
            if not isinstance(part, bytes):
                raise BadImage("the file is not open in binary mode")
            if not part:
                break
            data += part
    except AttributeError:
        raise BadImage(f"a photograph cannot be a {type(file).__name__}") from None
    except (OSError, ValueError) as error:
        raise BadImage(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not data and _place(file) > 0:
        raise BadImage("nothing is left to read: the file is at its end; seek(0) goes back to its beginning")
    return bytes(data)


def _place(file: Readable) -> int:
    try:
        return int(file.tell())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # a pipe has no position
        return 0


def _encoded(image: Image.Image) -> bytes:
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{image.width} x {image.height} is more than the {MAX_PIXELS / 1e6:.0f} megapixels allowed")
    buffer = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in _LOSSLESS:
            upright.save(buffer, "PNG", compress_level=1)  # with its profile
        else:
            rgb = upright if keeps_mode(upright) else to_rgb(upright, white_of(upright))
            to_srgb(rgb, upright).save(buffer, "PNG", compress_level=1, icc_profile=None)
    except Exception as error:  # an image not loaded yet is decoded here; Pillow raises a dozen types
        raise BadImage(f"truncated or damaged: {error}") from error
    return buffer.getvalue()


def check(data: bytes) -> None:
    """Check format and declared size from the header, without decoding pixels.

    HEIC passes unchecked if pillow-heif is not installed: a server may decode it.

    Raises:
        BadImage: the format is not one of ``FORMATS``, the file or its declared size exceeds the limits, or the header
            is damaged.
    """
    if is_heic(data) and not is_readable():
        return
    with _opened(data):
        pass


def decode(data: bytes, size: int = SIZE) -> NDArray[np.uint8]:
    """Decode an encoded photograph to ``uint8 [size, size, 3]``, upright, in sRGB.

    The EXIF orientation is applied, and colours are converted with the file's ICC profile. Transparency becomes white,
    16-bit greyscale is scaled to 8 bits, and of an animation the first frame is used. A JPEG is decoded at the smallest
    scale with at least twice the target's resolution (``Image.draft``), which is several times faster.

    Raises:
        BadImage: the format is not one of ``FORMATS``, the file has too many bytes or pixels, or it is truncated or
            damaged.
    """
    with _opened(data) as image:
        _draft(image, 2 * size)
        image.load()
        return np.asarray(_scaled(image, size, (size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def picture(data: bytes, longest: int) -> Image.Image:
    """Decode an encoded photograph for display: RGB, upright, its longer side at most ``longest`` pixels.

    The picture keeps its aspect ratio and is never enlarged. Everything else is as in :func:`decode`.

    Raises:
        BadImage: as :func:`decode`.
    """
    with _opened(data) as image:
        _draft(image, longest)
        image.load()
        scale = min(1.0, longest / max(image.size))
        width, height = (max(1, round(side * scale)) for side in image.size)
        return _scaled(image, longest, (width, height), Image.Resampling.LANCZOS)


def _draft(image: Image.Image, least: int) -> None:
    if image.format == "JPEG":  # a draft of HEIC would be its preview, another picture
        image.draft("RGB", (least, least))


def _scaled(image: Image.Image, least: int, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    """Return a picture of ``size``, in sRGB, upright; :func:`img2poem.images.reduce.reduced` gets ``least``.

    Colours are converted, and the picture is turned, after resizing, which is less work. The result is the same except
    for colour spaces with another gamma, such as ProPhoto, where averages come out a little darker.
    """
    small, box = reduced(image, least)
    return _turned(to_srgb(small.resize(size, how, box), image), image)


def _turned(small: Image.Image, image: Image.Image) -> Image.Image:
    """Turn a smaller copy of ``image`` upright; Pillow itself turns a TIFF when loading it."""
    turn = None if image.format == "TIFF" else _TURNS.get(orientation(image.info.get("exif") or b""))
    return small if turn is None else small.transpose(turn)


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Open ``data``; turn every exception of Pillow into ``BadImage``, inside the block too."""
    try:
        with quiet():  # our own limit applies; Pillow's warning about its lower limit would confuse
            if len(data) > MAX_BYTES:
                raise BadImage(_too_many_bytes(len(data)))
            bare = without_metadata(data)
            file = Metered(bare.file)
            with open_heic(file) if is_heic(data) else Image.open(file, formats=_PILLOWS) as image:
                _check_size(image, bare.file)
                file.left = None
                image.info.update(bare.beside)
                yield image
    except BadImage:
        raise
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES) or data[4:12] in _AVIF:
            raise BadImage("truncated or damaged, or of a kind that cannot be read; save it as a JPEG or PNG") from None
        raise BadImage(f"not a picture in a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:
        raise BadImage(f"too many pixels: {error}") from None
    except MemoryError:
        raise BadImage("too large to decode in the available memory") from None
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged files
        raise BadImage(f"truncated or damaged: {error}") from error


def _check_size(image: Image.Image, data: bytes) -> None:
    width, height = image.size
    most = _MAX_PIXELS_OF.get(image.format or "", _MAX_PIXELS_ELSE)
    if width * height > most:
        raise BadImage(
            f"{width} x {height} is more than the {most / 1e6:.0f} megapixels allowed for {image.format}; "
            "make the picture smaller"
        )
    if image.format == "JPEG" and width * height * data.count(_SCAN) > _MAX_SCANNED:
        raise BadImage(
            f"{width} x {height} in {data.count(_SCAN)} scans takes too long; save it as a non-progressive JPEG"
        )


def _too_many_bytes(count: int) -> str:
    allowed = f"more than the {MAX_BYTES // 2**20} MiB allowed"
    # Of a file of unknown size, only one byte more than allowed was read.
    return allowed if count == MAX_BYTES + 1 else f"{count / 2**20:.0f} MiB is {allowed}"
